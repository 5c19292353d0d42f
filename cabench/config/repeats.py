"""Claims that repeat one of another study: that study is known, and has the same claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cabench.config.files import SUFFIXES, studies
from cabench.config.schema import Claim, Study
from cabench.config.yaml import Document
from cabench.errors import CabenchError, ConfigError, Where, listed, unknown

STATEMENT = ("better", "than", "also_than", "metric", "test", "relative_to", "ratio")
UNORDERED = ("also_than", "metric")


def check_repeats(study: Study, path: Path) -> None:
    """Raises a ConfigError where a claim repeats one that is unknown, or that states another thing.

    Known are the studies in the directory of `path`, the file of `study`, then those that come with
    cabench and those in ./studies/.
    """
    for i, claim in enumerate(study.claims):
        if claim.repeats is None:
            continue
        name, _, id = claim.repeats.partition(".")
        if name == study.study:
            text = f"expected a claim of another study, got '{claim.repeats}', one of this study"
            raise ConfigError("study", ("claims", i, "repeats"), text)
        home = _claim(id, name, _documents(name, path), ("claims", i, "repeats"))
        _check_same(claim, home, i)


def _claim(id: str, study: str, documents: Iterable[Document], where: Where) -> Claim:
    """The claim of a study; the first of several studies of that name that have it."""
    names: list[str] = []  # of studies with claims
    claims: list[Claim] = []
    for document in documents:
        name = str(document.content["study"])
        if name == study:
            claims += document.validated(Study).claims
        names += [name] if document.content.get("claims") else []
        if match := next((claim for claim in claims if claim.id == id), None):
            return match
    if study not in names:
        text = unknown("study with claims", study, dict.fromkeys(names))
    else:
        ids = dict.fromkeys(f"{study}.{claim.id}" for claim in claims)
        text = unknown("claim", f"{study}.{id}", ids)
    raise ConfigError("study", where, text)


def _documents(name: str, path: Path) -> Iterator[Document]:
    """The studies that train, other than `path`: files called `name` first, then those beside it.

    A file that is not valid YAML is left out, unless it is called `name`.
    """
    beside = sorted(other for suffix in SUFFIXES for other in path.parent.glob(f"*{suffix}"))
    files = dict.fromkeys((*beside, *studies().values()))
    for other in sorted(files, key=lambda file: file.stem != name):
        if other == path:
            continue
        try:
            document = Document.read(other, "study")
        except CabenchError:
            if other.stem == name:
                raise
            continue
        if "study" in document.content and document.content.get("kind", "train") == "train":
            yield document


def _check_same(claim: Claim, home: Claim, i: int) -> None:
    """Refuses a claim that does not state what `home` does."""
    for key in STATEMENT:
        theirs, ours = _values(home, key), _values(claim, key)
        if theirs != ours:
            text = f"expected {listed(theirs)} as in '{claim.repeats}', got {listed(ours)}"
            raise ConfigError("study", ("claims", i, key), text)


def _values(claim: Claim, key: str) -> list[str]:
    """What a claim has at a key, as a list of texts; sorted where the order has no meaning."""
    value = getattr(claim, key)
    values = value if isinstance(value, list) else [] if value is None else [value]
    return (sorted if key in UNORDERED else list)(map(str, values))
