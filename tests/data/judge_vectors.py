#!/usr/bin/env python3
"""Writes judge_vectors.txt.gz: histories with what the reference model says to every message of them.

    pip install numpy numba
    python3 tests/data/judge_vectors.py ../shared/detection/sim.py

The reference model is used as it is; lines that write its registers are added to a copy in memory. Two kinds
of history are written:

  given    the expectation (rate, dispersion, marks) stands in the file, as the reference model used it: this
           shows that the test itself agrees, on any history.
  learned  only the messages stand in the file: this shows that learning agrees too. Here two lines of the
           reference model are changed first, because it saves work where nothing happens: the expectation is
           renewed at the end of every hour (it does so only in hours with mail), and suspicion that stands at
           the end of an hour is carried into the next.

Lines: `S name mode`, `P prior-probabilities profile`, `E rate dispersion nine-probabilities`, `M seconds novel verdict path foreign [registers]`.
Seconds count from a Monday, 00:00. Registers are in nats, three templates by four rates.
"""
import gzip
import os
import re
import sys
import types

import numpy as np

SOURCE = open(sys.argv[1] if len(sys.argv) > 1 else "../shared/detection/sim.py").read()


def replaced(text, old, new):
    assert text.count(old) == 1, (text.count(old), old)
    return text.replace(old, new)


def reference(learned):
    text = SOURCE.replace("@njit(cache=True)", "@njit")
    text = replaced(text, "hourfeat,TA,LAM,TB):", "hourfeat,TA,LAM,TB,trace):")
    text = replaced(
        text,
        "        if best>hpeak: hpeak=best\n",
        "        if best>hpeak: hpeak=best\n"
        "        for q2 in range(12): trace[i,q2]=W[q2]\n"
        "        trace[i,12]=lam0; trace[i,13]=r; trace[i,14]=V\n"
        "        for q2 in range(9): trace[i,15+q2]=p0[q2]\n",
    )
    if learned:
        start = text.index("        if newhour:\n")
        end = text.index("            newhour=False\n")
        block = text[start:end].split("\n")[1:-1]
        at = lambda indent: "".join(" " * indent + line[12:] + "\n" for line in block)
        text = replaced(text, "    sc=np.zeros(nd)\n    while True:\n", "    sc=np.zeros(nd)\n" + at(4) + "    while True:\n")
        text = replaced(
            text,
            "            hour+=1; nhc=0; hpeak=0.0\n",
            "            hour+=1; nhc=0; hpeak=0.0\n"
            "            for q2 in range(12): hpeak=max(hpeak,W[q2])\n" + at(12),
        )
    module = types.ModuleType("reference")
    exec(compile(text, "sim.py with a trace", "exec"), module.__dict__)
    return module


def run(m, e, att):
    n = len(e.t)
    trace = np.zeros((n, 24))
    thr = np.full((m.ND_, 1), 1e18)
    m.run(e.t, e.nov, e.res, e.snd, e.fp, att, m.PROF[e.et], m.PRI[e.et], 0, thr, -1.0,
          np.zeros((m.ND, m.ND_)), np.full((m.ND_, 1, 2), -1.0), np.zeros((m.ND * 24, 6)), m.TA, m.LAM, m.TB, trace)
    return trace


def history(m, rng, et, kind, length, entity):
    """A history of at most `length` messages that ends inside or after the attack."""
    while True:
        e = m.gen_entity(rng, et)
        if not entity(e):
            continue
        att = np.zeros(len(e.t), np.int8)
        first = 0
        if kind:
            a = m.gen_attack(rng, kind, e)
            if len(a.t) == 0:
                continue
            # Attacks are moved to the second or third day, so that short histories have them.
            a.t = a.t - a.t[0] + rng.uniform(30, 60) * 3600
            e, att = m.merge(e, a)
            first = int(np.argmax(att))
        end = min(len(e.t), max(length, first + 60))
        if end > 5 * length:
            continue
        e.t = np.round(e.t[:end] * 1e6) / 1e6
        order = np.argsort(e.t, kind="stable")
        e.t = e.t[order]
        for name in ("nov", "res", "snd", "fp"):
            setattr(e, name, getattr(e, name)[:end][order])
        return e, att[:end][order]


def steady(e):
    """No silence so long that the product takes its shortcuts."""
    gaps = np.diff(np.concatenate([[0.0], e.t]))
    return len(e.t) > 200 and gaps.max() < 20 * 3600


def main():
    out = gzip.GzipFile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "judge_vectors.txt.gz"), "wb", 9, mtime=0)
    write = lambda line: out.write((line + "\n").encode())
    rng = np.random.default_rng(20261124)
    cases = [("given", 0, "dormant_wake", 60), ("given", 1, None, 200), ("given", 2, "blast", 700), ("given", 3, None, 900),
             ("given", 4, "blast", 500), ("given", 2, "night", 700), ("given", 1, "low_slow", 200), ("given", 2, "boil", 700),
             ("learned", 2, None, 1200), ("learned", 3, "blast", 1500), ("learned", 4, "blast", 1500), ("learned", 1, None, 230)]
    models = {"given": reference(False), "learned": reference(True)}
    for number, (mode, et, kind, length) in enumerate(cases):
        m = models[mode]
        e, att = history(m, rng, et, kind, length, steady if mode == "learned" else lambda e: True)
        trace = run(m, e, att)
        write(f"S {number}-{kind or 'ordinary'} {mode}")
        write("P " + " ".join(repr(float(x)) for x in [*m.PRI[et], *m.PROF[et]]))
        before = None
        for i in range(len(e.t)):
            expectation = trace[i, [12, 13, *range(15, 24)]]
            if mode == "given" and (before is None or (expectation != before).any()):
                write("E " + " ".join(repr(float(x)) for x in expectation))
                before = expectation
            line = f"M {float(e.t[i])!r} {e.nov[i]} {e.res[i]} {e.snd[i]} {e.fp[i]}"
            # Registers are written where they are most: around attacks, and for every seventh message.
            if att[i] or i % 7 == 0:
                line += " " + " ".join(repr(float(x)) for x in trace[i, :12])
            write(line)
        print(number, mode, et, kind, len(e.t), "messages", int(att.sum()), "of the attack, greatest register", trace[:, :12].max())
    out.close()


main()
