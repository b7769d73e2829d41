"""The logger: metrics on disk and on the console."""

import io
import json
import os
import signal

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from embodia.agents.training.interrupt import stop_on_signals
from embodia.agents.training.logger import Logger


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_means_between_writes_and_null_for_nan(tmp_path):
    logger = Logger(tmp_path, tensorboard=False, console=False)
    logger.start(0, 100)
    for value in (1.0, 2.0, 6.0):
        logger.add({"loss": value})
    logger.add({"rare": 5.0, "nan": float("nan")})
    logger.write(10)
    logger.add({"loss": 7.0})
    logger.write(20)
    logger.close()
    first, second = lines(tmp_path)
    assert (first["step"], first["loss"], first["rare"], first["nan"]) == (10, 3.0, 5.0, None)
    assert (second["step"], second["loss"]) == (20, 7.0)
    assert "rare" not in second
    assert second["time/seconds"] >= first["time/seconds"]


def test_lines_behind_a_checkpoint_are_taken_back_and_open_means_go_on(tmp_path):
    logger = Logger(tmp_path, tensorboard=False, console=False)
    logger.record(1, {"x": 1})
    logger.add({"loss": 1.0})
    state = logger.state_dict()
    logger.add({"loss": 99.0})
    logger.write(2)
    logger.close()
    again = Logger(tmp_path, tensorboard=False, console=False)
    again.load_state_dict(state)
    again.add({"loss": 3.0})
    again.write(2)
    again.close()
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert lines(tmp_path)[1]["loss"] == 2.0
    assert lines(tmp_path)[1]["time/seconds"] >= round(state["seconds"], 3)


def test_tensors_are_counted_as_they_were_when_they_were_added(tmp_path):
    logger = Logger(tmp_path, tensorboard=False, console=False)
    weight = torch.tensor(1.0, requires_grad=True)
    logger.add({"weight": weight, "half": torch.tensor(0.5, dtype=torch.bfloat16), "plain": 2})
    with torch.no_grad():
        weight.fill_(3.0)
    logger.add({"weight": weight, "half": 1.5})
    state = logger.state_dict()
    logger.add({"weight": torch.tensor(99.0)})
    logger.load_state_dict(state)
    assert logger.write(1) | {"time/steps_per_second": 0} == {
        **{"weight": 2.0, "half": 1.0, "plain": 2.0},
        "time/steps_per_second": 0,
    }
    logger.close()


def test_processor_time_goes_on_after_a_resume(tmp_path):
    logger = Logger(tmp_path, tensorboard=False, console=False)
    state = {**logger.state_dict(), "cpu_seconds": 100.0}
    logger.load_state_dict(state)
    logger.record(1, {})
    assert 100 <= lines(tmp_path)[0]["time/cpu_seconds"] < 101
    del state["cpu_seconds"]  # as in checkpoints of earlier versions
    logger.load_state_dict(state)
    assert logger.cpu_seconds < 1
    logger.close()


def test_tensorboard_reads_the_same_numbers(tmp_path):
    logger = Logger(tmp_path, console=False)
    logger.record(3, {"eval/success": 0.5})
    logger.record(4, {"eval/success": 0.75})
    logger.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("eval/success")] == [(3, 0.5), (4, 0.75)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    logger = Logger()
    logger.start(0, 100)
    logger.record(40, {"eval/success": 0.5, "time/steps_per_second": 1234.0})
    logger._console._said = 0.0
    logger.tick(50)
    logger.say("a word")
    logger.close()
    assert "a word" in screen.getvalue()
    assert "50/100" in screen.getvalue()
    assert "eval/success 0.500" in screen.getvalue()


def test_plain_lines_are_spaced_in_time(capsys):
    logger = Logger(console_seconds=1000)
    logger.start(0, 100)
    for step in range(50):
        logger.tick(step)
    logger.say("a word")
    logger.close()
    assert capsys.readouterr().err == "a word\n"


def test_a_second_ctrl_c_does_not_wait():
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_leave_signals_alone():
    import threading

    before, seen = signal.getsignal(signal.SIGTERM), []

    def run():
        with stop_on_signals() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
