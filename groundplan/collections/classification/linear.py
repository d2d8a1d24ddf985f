"""A linear classifier: softmax regression on reduced features, with probabilities that can be believed.

Here: learning it, judging it, its file, and asking it. Not here: which images it sees and where it lies
(classifier.py), temperature scaling (calibration.py).

Counts are scikit-learn's; the fit is not, though its LogisticRegression goes the same way (L-BFGS from zero). Weights
then differ by up to 1e-6 of the largest, and a stored classifier is the same bytes for the same images. A fit must end
when its run is stopped (`check`), which scikit-learn's cannot. Of two classes it has one weight for two of ours. The
tests hold ours to the minimum that scikit-learn finds.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from groundplan.collections.classification import calibration
from groundplan.collections.descriptors import pca
from groundplan.core.archive import packed
from groundplan.errors import ModelMismatch

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # tried on validation images; of equals the strongest is taken
SAMPLE = 20_000  # images with which a penalty is chosen; the last fit sees all
STEPS = 300  # of L-BFGS, at most
TRIAL_STEPS, LAST_STEPS = 60, 100  # while a penalty is chosen; from there on, with all images


@dataclass(frozen=True)
class Linear:
    """weights: float64 (k, C); bias: float64 (C,). Logits are features @ weights + bias."""

    weights: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        return features.astype(np.float64) @ self.weights + self.bias


@dataclass(frozen=True)
class Learned:
    """What learning ends in: the weights, the penalty and temperature chosen, and the loss of each penalty tried."""

    linear: Linear
    penalty: float
    temperature: float
    tried: dict[float, float]


@dataclass(frozen=True, kw_only=True)
class ImageClassifier:
    """A classifier as it is served: raw image features in, probabilities of classes out.

    sha256 is of the whole file, its identity.
    """

    axes: pca.Axes
    linear: Linear
    temperature: float
    card: dict[str, Any]
    sha256: str

    @property
    def labels(self) -> list[str]:
        return list(self.card["labels"])

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) features of the encoder that the card names -> (N, C), in the order of `labels`. Raises ModelMismatch
        when there are other than D features.
        """
        if features.ndim != 2 or features.shape[1] != len(self.axes.mean):
            raise ModelMismatch(
                f"classifier {self.sha256[:8]}",
                f"it was learned on {len(self.axes.mean)} features of an image, not {features.shape[-1]}",
                f"Compute features as its card says: {self.card['features']}",
            )
        return calibration.softmax(self.linear.logits(pca.project(self.axes, features)) / self.temperature)


def fit(
    features: np.ndarray,
    truth: np.ndarray,
    classes: int,
    penalty: float,
    start: Linear | None = None,
    check: Callable[[], None] = lambda: None,
    steps: int = STEPS,
) -> Linear:
    """Softmax regression: least mean log loss plus penalty / 2 * |weights|^2; the bias is free.

    features: (N, k); truth: int (N,) below `classes`. The same minimum as scikit-learn's
    LogisticRegression(C=1/(N*penalty)); of two classes C=2/(N*penalty), as it then has one weight for two of ours.
    """
    from scipy.optimize import minimize

    rows = features.astype(np.float64)
    count, width = rows.shape
    each = np.arange(count)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        check()
        weights, bias = flat[: width * classes].reshape(width, classes), flat[width * classes :]
        wrong = rows @ weights + bias  # one array of (N, C) is worked on in place: it is what takes time and memory
        wrong -= wrong.max(axis=1, keepdims=True)
        of_truth = wrong[each, truth]
        np.exp(wrong, out=wrong)
        sums = wrong.sum(axis=1, keepdims=True)
        value = float(np.mean(np.log(sums[:, 0]) - of_truth) + penalty / 2 * np.sum(weights**2))
        wrong /= sums
        wrong[each, truth] -= 1.0
        wrong /= count
        return value, np.concatenate([(rows.T @ wrong + penalty * weights).ravel(), wrong.sum(axis=0)])

    first = np.zeros((width + 1) * classes)
    if start is not None:
        first = np.concatenate([start.weights.ravel(), start.bias])
    found = minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": steps, "gtol": 1e-7, "ftol": 1e-12})
    return Linear(found.x[: width * classes].reshape(width, classes), found.x[width * classes :])


def learn(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    classes: int,
    check: Callable[[], None] = lambda: None,
    penalties: Sequence[float] = PENALTIES,
) -> Learned:
    """Weights from training images; penalty and temperature from validation images, where there are any.

    Pairs are (features (N, k), truth int (N,)). All features are divided by one number, so that a penalty means the
    same whatever the encoder's scale; it is in the weights that come back.
    """
    features, truth = train
    scale = float(features.std(dtype=np.float64)) or 1.0
    near, here = features[:: max(1, -(-len(truth) // SAMPLE))] / scale, truth[:: max(1, -(-len(truth) // SAMPLE))]
    tried: dict[float, float] = {}
    trials: dict[float, Linear] = {}
    chosen, linear = penalties[len(penalties) // 2], None
    if len(validation[1]):
        for penalty in sorted(penalties, reverse=True):  # from the strongest on: each begins where the last ended
            trials[penalty] = linear = fit(near, here, classes, penalty, linear, check, TRIAL_STEPS)
            tried[penalty] = round(_cooled_loss(linear, validation[0] / scale, validation[1]), 6)
        chosen = min(tried, key=lambda penalty: (tried[penalty], -penalty))
    linear = fit(features / scale, truth, classes, chosen, trials.get(chosen), check, LAST_STEPS)
    heat = calibration.temperature(linear.logits(validation[0] / scale), validation[1])
    return Learned(Linear(linear.weights / scale, linear.bias), chosen, heat, tried)


def _cooled_loss(linear: Linear, features: np.ndarray, truth: np.ndarray) -> float:
    """A penalty is judged as it would be used: with its temperature. Otherwise a weak one loses by its confidence."""
    logits = linear.logits(features)
    return calibration.log_loss(logits / calibration.temperature(logits, truth), truth)


def judge(probabilities: np.ndarray, truth: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    """Figures on images: accuracy, log loss, calibration, per class, and the confusion matrix (rows are the truth)."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    said, numbers = probabilities.argmax(axis=1), range(len(labels))
    confusion = confusion_matrix(truth, said, labels=numbers)
    right = np.diag(confusion)
    # a share of no images is no number
    shares = precision_recall_fscore_support(truth, said, labels=numbers, zero_division=np.nan)
    rows = [
        {
            "class": label,
            "images": int(images),
            "right": int(hits),
            "precision": _share(precision),
            "recall": _share(recall),
        }
        for label, hits, precision, recall, images in zip(labels, right, *shares[:2], shares[3], strict=True)
    ]
    # not scikit-learn's log_loss: it takes what is less likely than 2e-16 for as likely as that
    logs = np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-300))
    return {
        "images": len(truth),
        "accuracy": round(float(right.sum() / len(truth)), 6),
        "log_loss": round(float(-logs.sum() / len(truth)), 6),
        "calibration_error": round(calibration.calibration_error(probabilities, truth), 6),
        "reliability": [
            [round(sure, 4), round(share, 4), n] for sure, share, n in calibration.reliability(probabilities, truth)
        ],
        "classes": rows,
        "confusion": confusion.tolist(),
    }


def _share(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def pack(axes: pca.Axes, linear: Linear, temperature: float, card: dict[str, Any]) -> bytes:
    """One zip, uncompressed and without times, so that the same classifier is the same bytes."""
    parts = {
        "card.json": json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False).encode(),
        "axes.npz": pca.axes_to_bytes(axes),
        "linear.npz": pca.pack(
            {
                "weights": linear.weights,
                "bias": linear.bias,
                "temperature": np.array(temperature),
            }
        ),
    }
    return packed(parts)


def unpack(data: bytes) -> ImageClassifier:
    """The classifier in a file's bytes. Raises ModelMismatch when there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            card = json.loads(archive.read("card.json"))
            axes = pca.axes_from_bytes(archive.read("axes.npz"))
            linear = pca.unpack(archive.read("linear.npz"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelMismatch(
            "the collection's classifier", f"its file holds none ({str(error)[:100]})", "Build the collection again"
        ) from error
    head = Linear(linear["weights"], linear["bias"])
    return ImageClassifier(
        axes=axes,
        linear=head,
        temperature=float(linear["temperature"]),
        card=card,
        sha256=hashlib.sha256(data).hexdigest(),
    )
