"""What a soak found, for a person, and whether it passed."""

from __future__ import annotations

from typing import Any

from vitals import CRITERION

BAR = 0.03  # by which the winner's time of the finals may differ from that on the quiet machine


def failures(run: dict[str, Any]) -> list[str]:
    """What the run failed at."""
    found = [f"the search ended: {run['error']}"] if run["error"] else []
    if not run["vitals"]:
        found.append("too few samples to say what is flat")
    found += [f"{each['name']} is not flat" for each in run["vitals"] if not each["is_flat"]]
    found += [f"candidate {each}" for each in run["unexpected"]]
    found += [f"left over: {each}" for kind in run["left_over"].values() for each in kind]
    quiet = run["quiet"]
    if run["busy_loops"] and (quiet is None or not quiet["is_within"]):
        found.append(f"the winner's time of the finals is not within {BAR:.0%} of that on the quiet machine")
    return found


def table(run: dict[str, Any]) -> str:
    """The run for a person, as Markdown."""
    share = f" of {run['budget']}" if run["candidates"] < run["budget"] else ""
    where = run["device"] if len(run["devices"]) == 1 else f"{len(run['devices'])} of {run['device']}"
    lines = [
        f"{run['candidates']} candidates{share} in {run['seconds']:.0f} s on {where}, {run['cores']} cores, "
        f"{run['busy_loops']} busy loops; {', '.join(run['families'])} on {run['shape']}; {run['throughput']}",
        f"Statuses: {', '.join(f'{count} {status}' for status, count in run['statuses'].items())}.",
    ]
    if run["one_fault_in"]:
        ended = (
            f"{kind}: " + (", ".join(f"{count} {status}" for status, count in statuses.items()) or "none")
            for kind, statuses in run["faults"].items()
        )
        lines.append(f"One fault in {run['one_fault_in']} candidates, the kinds in turn. {'; '.join(ended)}.")
    if run["worker_starts"]:
        lines.append(f"{run['worker_starts']} workers were started, each in {run['worker_start_s']:.1f} s (median).")
    lines += [
        "",
        "| | 1st quarter | 2nd | 3rd | 4th | a candidate, second half | 4th less 2nd | allowed | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in run["vitals"]:
        kib = f"{1024 * each['a_candidate']:.2f} KiB" if each["unit"] else f"{each['a_candidate']:.4f}"
        cells = " | ".join(f"{value:.1f}" for value in each["quarters"])
        name = f"{each['name']}, {each['unit']}" if each["unit"] else each["name"]
        verdict = "flat" if each["is_flat"] else "**not flat**"
        lines.append(f"| {name} | {cells} | {kib} | {each['growth']:.1f} | {each['allowed']:.1f} | {verdict} |")
    for name, key in (("a proposal, ms", "ask_ms_median"), ("a record, ms", "record_ms_median")):
        lines.append(f"| {name} | {' | '.join(f'{each:.2f}' for each in run[key])} | | | | |")
    lines += ["", f"Medians; {CRITERION}."]
    if run["worker_kib_a_candidate_in_a_life"] is not None:
        lines.append(f"While a worker lives it grows by {run['worker_kib_a_candidate_in_a_life']:.1f} KiB a candidate.")
    if run["device_mib_left"] is not None:
        lines.append(f"After the search the GPUs have {run['device_mib_left']:.0f} MiB more in use than before.")
    lines.append(f"The database: {run['database_kib_a_candidate']:.1f} KiB a candidate.")
    if quiet := run["quiet"]:
        low, high = quiet["interval"]
        sessions = ", ".join(f"{each:.2f}" for each in quiet["sessions_us"])
        lines.append(
            f"The winner, of {quiet['family']}: {quiet['finals_us']:.2f} us in the finals beside the busy loops, "
            f"{quiet['quiet_us']:.2f} us afterwards ({sessions}), ratio {quiet['ratio']:.4f} [{low:.4f}, {high:.4f}]; "
            f"{quiet['conditions']}."
        )
    verdict = failures(run)
    return "\n".join([*lines, "", f"Failed: {'; '.join(verdict)}" if verdict else "All checks passed."])
