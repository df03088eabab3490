#!/usr/bin/env python3
"""Compare what an audit says of harm with harm: success, peak drop, retention drop and captured-from over a range of ε.

usage: measure_harm.py ADVMOD OUT [AUDIT FLAG...]

Runs `ADVMOD audit` with PGD and FGSM at ε = ½, 1, 2, 4, 8 and 16/255 into the folder OUT (the flags name another model and data than the embedded
ones), prints a table with Spearman's rank correlation of each number with the success rate, and writes OUT/harm.svg.
"""
import json
import pathlib
import subprocess
import sys

SIZES = ["1/510", "1/255", "2/255", "4/255", "8/255", "16/255"]
ATTACKS = ["pgd", "fgsm"]
COLORS = {"success": "#000000", "retention drop": "#0072b2", "peak drop": "#d55e00"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 380, 260, 44, 34, 46


def ranks(values):
    order = sorted(range(len(values)), key=lambda at: values[at])
    found = [0.0] * len(values)
    for at in order:
        equals = [place for place, other in enumerate(order, 1) if values[other] == values[at]]
        found[at] = sum(equals) / len(equals)
    return found


def spearman(a, b):
    """The correlation of ranks; equal values share the mean of theirs. None where one of the two does not vary."""
    a, b = ranks(a), ranks(b)
    a = [value - sum(a) / len(a) for value in a]
    b = [value - sum(b) / len(b) for value in b]
    scale = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
    return sum(x * y for x, y in zip(a, b)) / scale if scale else None


def row(result):
    attack, drop, peak, captured = result["attack"], result["retention_drop"], result["peak_drop"], result["captured_from"]
    return {
        "attack": attack["name"],
        "eps": attack["params"]["eps"],
        "success": result["success_rate"]["value"],
        "peak drop": peak["estimate"],
        "retention drop": drop["estimate"],
        "tap": captured["tap"] or "nowhere",
        "captured from": captured["before"],
    }


def picture(rows):
    """One panel per attack: the three numbers over ε."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(ATTACKS)} {HEIGHT}" font-family="sans-serif" font-size="11">',
           f'<rect width="{WIDTH * len(ATTACKS)}" height="{HEIGHT}" fill="#ffffff"/>']
    for panel, attack in enumerate(ATTACKS):
        mine = [it for it in rows if it["attack"] == attack]
        left, right = panel * WIDTH + LEFT, (panel + 1) * WIDTH - 14
        x = lambda at: left + at * (right - left) / (len(SIZES) - 1)
        y = lambda value: TOP + (1 - value) * (HEIGHT - TOP - BOTTOM)
        out.append(f'<text x="{left}" y="20" font-size="13">{attack}</text>')
        for level in (0, 0.25, 0.5, 0.75, 1):
            out.append(f'<line x1="{left}" x2="{right}" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#dddddd"/>')
            out.append(f'<text x="{left - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{level}</text>')
        for at, size in enumerate(SIZES):
            out.append(f'<text x="{x(at):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{size}</text>')
        for at, (name, color) in enumerate(COLORS.items()):
            points = [(x(place), y(it[name])) for place, it in enumerate(mine)]
            line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            out.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{color}"/>' for a, b in points]
            out.append(f'<text x="{left + 110 * at}" y="{HEIGHT - 10}" fill="{color}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, folder, flags = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    attacks = [part for attack in ATTACKS for part in ("--attack", f"{attack}:eps={'|'.join(SIZES)}")]
    command = [program, "audit", *attacks, "--out", str(folder), "--force", "--progress", "none", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1, 4):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    report = json.loads((folder / "report.json").read_text())
    rows = [row(it) for it in report["attacks"]]
    print(f"{report['model']['architecture']}, {report['attacks'][0]['success_rate']['of']} attacked images, {len(report['taps'])} taps\n")
    print("| attack | ε | success % | peak drop | retention drop | captured from |\n|---|---|---|---|---|---|")
    for it in rows:
        print(f"| {it['attack']} | {it['eps']} | {100 * it['success']:.1f} | {it['peak drop']:.3f} | {it['retention drop']:.3f} | {it['tap']} |")
    print("\n| Spearman's correlation with success | all | pgd | fgsm |\n|---|---|---|---|")
    for name, sign in (("peak drop", 1), ("retention drop", 1), ("captured from", -1)):
        parts = [rows] + [[it for it in rows if it["attack"] == attack] for attack in ATTACKS]
        found = [spearman([sign * it[name] for it in part], [it["success"] for it in part]) for part in parts]
        cells = ["–" if value is None else f"{value:.2f}" for value in found]
        label = name if sign > 0 else f"{name} (earlier is more)"
        print(f"| {label} | {' | '.join(cells)} |")
    (folder / "harm.svg").write_text(picture(rows))


if __name__ == "__main__":
    main()
