"""Bench of segmentation and sets: with a tiny budget, every part gives its rows and controls."""

import pytest

from embodia.scripts.bench.harness.options import Structured
from embodia.scripts.bench.structured.structured import measure

ROWS = {
    "crf": {
        ("crf", "accuracy"): {"before", "permutohedral lattice", "sequential"},
        ("crf", "accuracy at borders"): {"before", "permutohedral lattice", "sequential"},
        ("crf", "same labels as exact mean field"): set(),
        ("crf", "largest rise of the free energy [nats]"): set(),
    },
    "instances": {
        ("recurrent instances", "SBD"): {"without canvas", "connected components"},
        ("recurrent instances", "|DiC|"): {"without canvas", "connected components"},
    },
    "sets": {
        ("set predictor", "F1"): set(),
        ("set predictor", "share of sets without an error"): set(),
        ("autoregressive, sorted", "F1"): {"autoregressive, random order"},
        ("autoregressive, sorted", "share of sets without an error"): {"autoregressive, random order"},
    },
    "crf-rnn": {
        (f"crf-rnn, {share} % of the data", "mean IoU"): {"network", "network, longer", "fixed crf"}
        for share in (100, 30, 10)
    },
}


@pytest.mark.parametrize("part", ROWS)
def test_parts_give_their_rows_with_controls(part, tmp_path):
    options = Structured(smoke=True, seeds=1, only=(part,), out=tmp_path)
    rows = {(row.name, row.unit): {each.name for each in row.controls} for row in measure(options)}
    assert ROWS[part].items() <= rows.items()
