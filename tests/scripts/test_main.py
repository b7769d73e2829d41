"""The entry point: commands, user errors, `embodia doctor`."""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time

import pytest

from embodia.scripts import main as entry
from embodia.scripts.mistake import Mistake, nearest


def test_help_names_every_verb_and_imports_nothing_heavy():
    program = (
        "import sys; from embodia.scripts.main import main; main(['--help']); "
        "print(sorted({'torch', 'tyro', 'rich', 'numba', 'scipy'} & set(sys.modules)))"
    )
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.endswith("[]\n"), out
    for verb, line in entry.VERBS.items():
        assert f"  {verb} " in out
        assert line in out
    assert time.perf_counter() - start < 15, "about 0.1 s; not a timed test, only no hang"


@pytest.mark.parametrize("verb", entry.VERBS)
def test_every_verb_has_a_help_page(verb, capsys):
    with contextlib.suppress(SystemExit):
        assert entry.main([verb, "--help"]) == 0
    assert f"embodia {verb}" in capsys.readouterr().out


def test_no_verb_and_a_wrong_verb(capsys):
    assert entry.main([]) == 2
    assert entry.main(["docter"]) == 2
    assert "unknown command docter. Did you mean doctor, detect?" in capsys.readouterr().err


def test_nearest_prefers_likeness_then_parts_then_lists_the_few():
    names = ["ppo-empty", "bc-doorkey", "dagger-doorkey"]
    assert nearest("PPO-emtpy", names) == "Did you mean ppo-empty?"
    assert nearest("doorkey", names).startswith("Did you mean ")
    assert nearest("zzz", names) == "Choose from ppo-empty, bc-doorkey, dagger-doorkey."
    assert nearest("zzz", [f"x{i}" for i in range(99)]) == ""


def test_a_mistake_is_one_message_and_a_defect_keeps_its_traceback(monkeypatch, capsys):
    def refuse(verb, arguments):
        raise Mistake("no such thing; do that")

    monkeypatch.setattr(entry, "run", refuse)
    assert entry.main(["doctor"]) == 2
    assert capsys.readouterr().err == "embodia: no such thing; do that\n"
    monkeypatch.setattr(entry, "run", lambda verb, arguments: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        entry.main(["doctor"])


def test_the_doctor_ends_with_json(tmp_path, capsys):
    assert entry.main(["doctor", "--json", "--runs", str(tmp_path / "not yet")]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["fine"]
    names = {finding["name"] for finding in said["findings"]}
    assert {"python", "embodia", "cores", "torch", "video", "runs", "minari", "habitat_sim"} <= names
    for finding in said["findings"]:
        assert finding["fine"] or finding["mend"], finding


def test_the_doctor_names_what_a_missing_piece_would_enable(monkeypatch):
    from embodia.scripts.commands import doctor

    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    missing = doctor.optional("minari", *doctor.OPTIONAL["minari"])
    assert not missing.fine
    assert not missing.needed
    assert "embodia collect --to minari" in missing.says
    assert missing.mend == "pip install 'minari>=0.5'"


@pytest.mark.parametrize(("module", "name"), entry.ELSEWHERE)
def test_the_mistakes_of_other_folders_are_where_the_entry_looks(module, name):
    assert issubclass(getattr(importlib.import_module(module), name), Exception)


def test_torch_gets_a_quarter_of_the_cores_unless_the_user_says(monkeypatch):
    assert [entry.threads(cores) for cores in (1, 2, 4, 16)] == [1, 1, 1, 4]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert entry.main([]) == 2
    assert os.environ["OMP_NUM_THREADS"] == "3"
