#!/usr/bin/env python3
"""Draw the modularity curves of a report as SVG: clean, and each attack over the same samples.

usage: make_picture.py advmod-report/report.json > docs/curves.svg
"""
import json
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 360, 56, 40, 190, 52
COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]


def main():
    report = json.load(open(sys.argv[1]))
    curves = [("clean", report["attacks"][0]["curves"]["clean"])]
    curves += [(it["attack"]["label"], it["curves"]["adversarial"]) for it in report["attacks"]]
    taps = report["taps"]

    def x(index):
        return LEFT + index * (WIDTH - LEFT - RIGHT) / (len(taps) - 1)

    def y(q):
        return TOP + (1 - q) * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="22" font-size="14">Modularity Q per tap: {report["model"]["architecture"]}, '
           f'{curves[0][1]["n"]} correctly classified images</text>']
    for q in (0, 0.2, 0.4, 0.6, 0.8, 1):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(q):.1f}" y2="{y(q):.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(q) + 4:.1f}" text-anchor="end">{q:.1f}</text>')
    for index, tap in enumerate(taps):
        out.append(f'<text x="{x(index):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" font-size="10">{tap}</text>')
    ends = []
    for color, (name, curve) in zip(COLORS, curves):
        points = [(x(i), point["q"], point["interval"]) for i, point in enumerate(curve["taps"])]
        upper = [f'{px:.1f},{y(band["high"]):.1f}' for px, _, band in points]
        lower = [f'{px:.1f},{y(band["low"]):.1f}' for px, _, band in reversed(points)]
        line = " ".join(f"{px:.1f},{y(q):.1f}" for px, q, _ in points)
        out.append(f'<polygon points="{" ".join(upper + lower)}" fill="{color}" opacity="0.12"/>')
        out.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        peak = max(points, key=lambda point: point[1])
        out.append(f'<circle cx="{peak[0]:.1f}" cy="{y(peak[1]):.1f}" r="4" fill="{color}"/>')
        ends.append([y(points[-1][1]), name, color, peak[1]])
    ends.sort()
    for previous, end in zip(ends, ends[1:]):
        end[0] = max(end[0], previous[0] + 16)
    for height, name, color, peak in ends:
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{height + 4:.1f}" fill="{color}">{name} (peak {peak:.2f})</text>')
    out.append("</svg>")
    print("\n".join(out))


if __name__ == "__main__":
    main()
