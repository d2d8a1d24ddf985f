"""What IAM policies of roles allow, with their conditions, which the emulator does not look at.

Here: actions, resources and the three condition operators that the module's policies use; an operator that is not known
is an error. Not here: trust, boundaries, policies of resources.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

Policy = Mapping[str, Any]


def allows(policies: Sequence[Policy], action: str, resource: str, **context: str) -> bool:
    """Whether something allows it and nothing denies it. context: keys with `_` for `:`, as s3_prefix="v1/"."""
    told = {name.replace("_", ":", 1).lower(): value for name, value in context.items()}
    met = [
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _fits(statement["Action"], action.lower(), lower=True)
        and _fits(statement["Resource"], resource)
        and _conditions(statement.get("Condition", {}), told)
    ]
    return "Allow" in met and "Deny" not in met


def _fits(patterns: str | Sequence[str], text: str, lower: bool = False) -> bool:
    several = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(text, (one.lower() if lower else one).replace("[", "[[]")) for one in several)


def _conditions(conditions: Mapping[str, Mapping[str, Any]], told: Mapping[str, str]) -> bool:
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            value = told.get(key.lower())
            several = [wanted] if isinstance(wanted, str) else list(wanted)
            if operator not in ("StringLike", "StringEquals", "Bool"):
                raise NotImplementedError(operator)
            if value is None or not (_fits(several, value) if operator == "StringLike" else value in several):
                return False
    return True
