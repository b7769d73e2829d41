"""A model card of a trained run: what it was trained on, its scores with intervals, seeds, hardware, how to load it."""

import json
from collections.abc import Mapping
from typing import Any

from embodia.scripts.report.chart import span

CARD = "README.md"


def card(report: Mapping[str, Any], config: Mapping[str, Any], commit: str | None, repo: str | None) -> str:
    """Return the card as Markdown, with the metadata that the Hugging Face hub reads.

    Args:
        report: the run's report.json.
        config: the run's config.json.
        commit: the commit of Embodia's checkout, if it is one.
        repo: `user/name` on the hub, for the commands; None writes the folder's place instead.
    """
    preset = str(config.get("preset") or config["config"]["agent"]["kind"])
    place = f"hf://{repo}" if repo else "THIS_FOLDER"
    episodes, levels = len(report["episodes"]), report.get("levels") or {}
    facts = {
        "environment": f"`{report['env']}`",
        "preset": f"`embodia train {preset} --seed {report['seed']}`",
        "trained to": report.get("checkpoint", "?"),
        "CPU minutes of training": report.get("cpu_minutes", "?"),
        "hardware": ", ".join(f"{name} {value}" for name, value in report["hardware"].items()),
        "versions": ", ".join(f"{name} {value}" for name, value in report["versions"].items()),
        "commit of Embodia": commit or "an installed package",
        "configuration": f"hash {report['config_hash']}, in `config.json`",
        "date": report["date"],
    }
    return "\n".join(
        [
            "---",
            metadata(report, preset),
            "---",
            "",
            f"# {report['title']}",
            "",
            f"An agent for `{report['env']}`, trained and evaluated with Embodia.",
            "",
            f"## Scores on {report['split']} levels",
            "",
            f"{episodes} episodes, one a seed ({min(report['seeds'])} to {max(report['seeds'])})"
            + (f", {levels['distinct']} distinct levels" if levels.get("distinct") else "")
            + (f", {levels['met_in_training']} of them also met in training" if levels.get("met_in_training") else "")
            + f"; {100 * report['confidence']:.0f} % intervals.",
            "",
            *table(report),
            "",
            "## Use",
            "",
            "```python",
            "import embodia",
            "",
            f'agent = embodia.load("{place}")',
            "action, memory = agent.predict(obs)",
            "```",
            "",
            f"`embodia eval {place}` evaluates it again, `embodia record {place}` records it.",
            "",
            "## Training",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            "One run of one seed; other seeds differ. Scores hold for these levels and this version only.",
            "",
        ]
    )


def metadata(report: Mapping[str, Any], preset: str) -> str:
    """The card's front matter: tags, and the headline score as the hub's model index."""
    headline = report["headline"]
    value = report["scores"]["agent"][headline]["value"]
    result = {
        "task": {"type": "reinforcement-learning", "name": report["env"]},
        "dataset": {"name": f"{report['env']}, {report['split']} levels", "type": report["env"]},
        "metrics": [{"type": headline, "value": round(value, 4), "name": headline}],
    }
    lines = ["library_name: embodia", "pipeline_tag: reinforcement-learning", "tags:"]
    lines += [f"- {tag}" for tag in ("embodia", "embodied-ai", report["env"].split("/")[-1])]
    index = json.dumps([{"name": preset, "results": [result]}])  # JSON is YAML
    return "\n".join([*lines, f"model-index: {index}"])


def table(report: Mapping[str, Any]) -> list[str]:
    """The scores of the agent and of the policies beside it, as a Markdown table."""
    policies = report["scores"]
    names = list(policies["agent"])
    rows = [f"| score | {' | '.join(policies)} |", "|---" * (len(policies) + 1) + "|"]
    for name in names:
        cells = [
            span(*(each[name][key] for key in ("value", "low", "high"))) if name in each else ""
            for each in policies.values()
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows
