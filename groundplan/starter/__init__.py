"""Starter: the model that ships with the project, learned from towns whose imagery and buildings are open.

Here: the file, `model.zip`, in the form in which the store holds models, and where it lies. Not here: making it
(benchmarks/starter_model.py), reading it (training/model_files.py), learning on from it (training/network.py).

Its card names the data, their licences and whom to name, and its figures by town: imagery (c) OpenAerialMap
contributors, CC BY 4.0; buildings (c) OpenStreetMap contributors, ODbL 1.0; the encoder began with weights learned from
ImageNet.
"""

from __future__ import annotations

from pathlib import Path

NAME = "starter"
"""How settings name it."""
FILE = Path(__file__).parent / "model.zip"
