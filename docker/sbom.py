"""Bills of materials of both images, in CycloneDX 1.6, from the files that pin what they hold.

    python docker/sbom.py FOLDER        # groundplan.cdx.json, groundplan-train.cdx.json

The same lock files give the same bytes: there is no time in them, and their serial number is made of their content.
What the base image brings is not listed: scan the image for it. An attestation can be made of them with the tool of
your registry (docs/images.md).
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import Any

from lock_files import ROOT, Package, of_image

IMAGES = {"groundplan": "runtime", "groundplan-train": "train"}


def component(package: Package) -> dict[str, Any]:
    """A package as CycloneDX has it. One of several files is installed, so hashes of a wheel's platforms are theirs."""
    kind = "SHA-256" if package.kind == "pypi" else "SHA-512"
    files = {
        "type": "distribution",
        "url": package.url,
        "hashes": [{"alg": kind, "content": one} for one in package.hashes],
    }
    return {
        "type": "library",
        "bom-ref": package.url,
        "name": package.name,
        "version": package.version,
        "purl": package.url,
        "externalReferences": [files],
    }


def bill(image: str, version: str) -> dict[str, Any]:
    """The bill of an image."""
    itself = f"pkg:generic/{image}@{version}"
    components = [component(package) for package in of_image(IMAGES[image])]
    body = {
        "metadata": {
            "component": {"type": "container", "bom-ref": itself, "name": image, "version": version, "purl": itself}
        },
        "components": components,
        "dependencies": [{"ref": itself, "dependsOn": [one["bom-ref"] for one in components]}],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1, **body}


def main(folder: Path) -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        file = folder / f"{image}.cdx.json"
        made = bill(image, version)
        file.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
        print(f"{file}: {len(made['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
