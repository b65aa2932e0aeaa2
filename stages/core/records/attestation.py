"""Verdicts as statements about an artifact: in-toto test results, for pipelines that are not ours.

    test_result(recorded.files, passed=["loads", "finite"], failed=[], configuration=[descriptor(...)])

The subject is the same as the lineage's, so that a statement cannot be moved to other bytes unnoticed.
Source: https://in-toto.io/attestation/test-result/v0.1.
"""

from collections.abc import Mapping, Sequence

from stages.core.records.canonical import Json
from stages.core.records.lineage import STATEMENT

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def descriptor(name: str, sha256: str, annotations: Json) -> Json:
    """A document that a verdict rests on: its name and digest, and what matters of it."""
    return {"name": name, "digest": {"sha256": sha256}, "annotations": annotations}


def test_result(
    files: Mapping[str, str], *, passed: Sequence[str], failed: Sequence[str], configuration: Sequence[Json]
) -> Json:
    """The statement that these files passed and failed those tests; PASSED only if none failed.

    files: name → sha256. configuration: the descriptors of what the tests rest on.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(files.items())],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": "FAILED" if failed else "PASSED",
            "configuration": list(configuration),
            "passedTests": list(passed),
            "failedTests": list(failed),
        },
    }
