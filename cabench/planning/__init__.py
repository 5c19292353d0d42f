"""Study + scale -> plan: data, models, trials and their keys."""
