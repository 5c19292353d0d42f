"""What a model costs: multiply-accumulates and parameters, backbone and generator apart."""
