"""`groundplan sync --made`: Dagster is told of what manifests in the store name, where its own storage was lost.

Here: materializations and the last verdicts of checks, as events without a run. Not here: regions and years
(build.py), or making anything. What Dagster knows already is left as it is.
https://docs.dagster.io/guides/build/assets/external-assets
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from groundplan.core.manifest import Committed, Manifest, committed, readable
from groundplan.core.partition import ClassPartition, Partition
from groundplan.errors import Damaged, MissingInput
from groundplan.project import Project

if TYPE_CHECKING:
    import dagster as dg

SAID = "told again from the store: Dagster's own record was lost, or began later"


def recall(project: Project, instance: dg.DagsterInstance) -> tuple[int, int]:
    """Report what is made and unknown, in the pipeline's order; returns counts of partitions and of checks' verdicts.

    In that order nothing looks older than what it is made from, so automation finds nothing to do. A manifest that is
    broken is not reported: `groundplan status` names it. Raises StoreFailed.
    """
    import dagster as dg

    partitions = checks = 0
    for name, found in _by_asset(project):
        key = dg.AssetKey(name)
        known = instance.get_materialized_partitions(key)
        for one in found:
            manifest = _read(project, one)
            if manifest is None or (partition := _key(project, instance, manifest)) in known:
                continue
            instance.report_runless_asset_event(_event(project, key, partition, manifest))
            partitions += 1
            for check in _verdicts(project, key, partition, manifest):
                instance.report_runless_asset_event(check)
                checks += 1
    return partitions, checks


def _by_asset(project: Project) -> Iterator[tuple[str, list[Committed]]]:
    """Manifests of each asset, assets in the order in which they are made: imagery's, then collections'."""
    from groundplan.collections.pipeline import ASSETS as OF_COLLECTIONS
    from groundplan.pipeline import ASSETS

    listed = committed(project.store)
    for name in (*ASSETS, *OF_COLLECTIONS):
        yield name, [one for one in listed if one.dataset == name]


def _read(project: Project, one: Committed) -> Manifest[Any, Any] | None:
    try:
        return readable(project.store, one.found.key)
    except Damaged:
        return None


def _key(project: Project, instance: dg.DagsterInstance, manifest: Manifest[Any, Any]) -> str:
    """Dagster's key of a manifest's partition, which Dagster knows afterwards."""
    from assets import collection_partitions, partitions

    partition = manifest.partition
    if isinstance(partition, ClassPartition):
        key = collection_partitions.key_of(partition)
        whole, classes = collection_partitions.collections, collection_partitions.image_classes
        for definition, wanted in ((whole, partition.collection), (classes, key if partition.label else "")):
            if wanted and not instance.has_dynamic_partition(definition.name or "", wanted):
                instance.add_dynamic_partitions(definition.name or "", [wanted])
        return key
    partitions.add_partitions(instance, [partition])
    return partitions.key_of(partition)


def _event(project: Project, asset: dg.AssetKey, key: str, manifest: Manifest[Any, Any]) -> dg.AssetMaterialization:
    import dagster as dg

    from assets.report import cost, links

    metadata: dict[str, Any] = {
        **links(project, manifest),
        "committed": manifest.committed,
        "blocks": len(manifest.objects),
        "size [MB]": round(manifest.total_bytes / 1e6, 3),
        "seconds": round(manifest.seconds, 2),
        **cost(project, manifest.cpu_seconds),
        "made by the run": manifest.run or "unknown",
        "dagster/uri": project.store.uri(f"manifests/{manifest.dataset}/{manifest.partition.path}.json"),
    }
    tags = {"dagster/data_version": manifest.identity()}
    return dg.AssetMaterialization(asset, description=SAID, metadata=metadata, partition=key, tags=tags)


def _verdicts(
    project: Project, asset: dg.AssetKey, key: str, manifest: Manifest[Any, Any]
) -> Iterator[dg.AssetCheckEvaluation]:
    """What the checks of a partition said last, as the store keeps it."""
    import dagster as dg

    from assets.buildings.checks import words
    from groundplan.foreign_text import in_markdown
    from groundplan.quality.checks import GUARDS
    from groundplan.quality.verdict import Verdict, verdict_key

    if not isinstance(manifest.partition, Partition):
        return
    for name in [guard.name for guard in GUARDS if guard.dataset == manifest.dataset]:
        try:
            raw = json.loads(project.store.get(verdict_key(name, manifest.partition)))
            wanted = {one: raw[one] for one in ("passed", "serious", "compared", "message")}
        except (MissingInput, ValueError, KeyError, TypeError):
            continue
        verdict = Verdict(**wanted)
        serious = verdict.serious and not verdict.passed
        yield dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=name,
            passed=verdict.passed and verdict.compared,
            severity=dg.AssetCheckSeverity.ERROR if serious else dg.AssetCheckSeverity.WARN,
            description=in_markdown(words(verdict)),
            metadata={"judged": str(raw.get("when", ""))},
            partition=key,
        )
