"""Models by name: `footprints`, `footprints@candidate`, `footprints@2024-1a2b3c4d`, or a collection's name.

Here: which version a name means, and loading it. Not here: what is known of versions (groundplan/registry), or who
keeps models in memory (serving/api).

A name alone means the version of the alias that is served (`api.alias`, production); where nobody promoted any, the
newest. So a project that nobody has configured answers with what it made last.
"""

from __future__ import annotations

from groundplan.core.partition import ClassPartition
from groundplan.errors import MissingInput, ModelMismatch
from groundplan.project import Project
from groundplan.registry.aliases import read_aliases
from groundplan.registry.entries import FOOTPRINTS, ModelEntry, check_name, entries, entry_of, model_bytes, names
from groundplan.single.analyse import SingleModel


def model_names(project: Project) -> list[str]:
    """Names that are answered with: as configured, else all that the registry has."""
    return list(project.settings.api.models) or names(project.store)


def resolve(project: Project, word: str) -> ModelEntry:
    """The version that a name, with or without `@` and a version or alias, means now.

    Raises BadConfig for a name, version or alias that there is none of, MissingInput where a model has no version.
    """
    name, _, chosen = word.partition("@")
    check_name(name)
    if chosen:
        return entry_of(project.store, name, chosen)
    alias = project.settings.api.alias
    if alias in read_aliases(project.store, name).versions:
        return entry_of(project.store, name, alias)
    found = entries(project.store, name)
    if not found:
        raise MissingInput(
            f"model {name}", "there is none of that name", "Build one; `groundplan model list` shows them"
        )
    return found[-1]


def load_entry(project: Project, entry: ModelEntry, threads: int = 0) -> SingleModel:
    """A version, ready to be asked; takes seconds. threads: 0 takes the project's workers.

    Raises MissingInput, Damaged where its file is not what was registered, ModelMismatch where it does not run here.
    """
    from groundplan.single.models import class_model, footprint_model

    data = model_bytes(project.store, entry)
    if entry.kind == FOOTPRINTS:
        from groundplan.training.models import unpack

        network = unpack(data, f"model {entry.name} {entry.version}")
        return footprint_model(project, network, entry.name, entry.version, threads)
    from groundplan.collections.classification import linear

    classifier = linear.unpack(data)
    if ClassPartition(entry.source).collection != classifier.card["collection"]:
        raise ModelMismatch(f"model {entry.name}", "its card names another collection", "Register it again")
    return class_model(project, classifier, entry.name, entry.version)
