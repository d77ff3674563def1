#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""usage: mutants.py LIST PROGRAM [NAME=VALUE]... -- COMPILER...

Runs PROGRAM, once with each setting of the environment, as it is: it must pass. Then with each
mutant of LIST built into a copy of the engine: it must fail every time, or if LIST says that the
mutant is harmless, pass. COMPILER... compiles and links; the objects of PROGRAM are in its folder.
Prints TAP, and in the end "# N passed, N failed".
"""

import concurrent.futures
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINE = os.path.join(HERE, '../../drivers/vhost_blk')


def mutants(path):
    """Yields name, is it harmless, file, and pairs of old and new text."""
    with open(path, encoding='ascii') as f:
        text = re.sub(r'^#.*\n', '', f.read(), flags=re.M)
    for block in re.split(r'\n\n+', text.strip()):
        name, where, *lines = block.split('\n')
        harmless = bool(lines) and lines[0].startswith('harmless: ')
        changes = []
        for line in lines[harmless:]:
            # A '-' behind a '+' is another place in the file.
            if line[:1] == '-' and (not changes or changes[-1][1]):
                changes.append(['', ''])
            if line[:1] not in ('-', '+') or not changes:
                sys.exit(f'{path}: cannot make sense of "{line}" in "{name}"')
            changes[-1][line[0] == '+'] += line[1:] + '\n'
        if not where.startswith('file ') or not changes or not all(all(c) for c in changes):
            sys.exit(f'{path}: cannot make sense of "{name}"')
        yield name, harmless, where[5:], changes


def read(name):
    with open(os.path.join(ENGINE, name), encoding='ascii') as f:
        return f.read()


def place(lines):
    """A pattern for a text of the engine. Between its lines may be fault points, of which lists need not know."""
    return re.compile(r'(?:\t+fault_here\(\w+\);\n)*'.join(re.escape(l) for l in lines.splitlines(True)))


def build(program, compiler, n, file, text):
    """Links a PROGRAM in which one file is another, and the rest is as built before."""
    out = os.path.dirname(program)
    folder = os.path.join(out, f'mutant{n}')
    os.makedirs(folder, exist_ok=True)
    for f in os.listdir(folder):
        os.unlink(os.path.join(folder, f))
    sources = {o[:-1] + 'c': os.path.join(out, o) for o in sorted(os.listdir(out))
               if o.endswith('.o')}
    changed, beside = [file], []
    if file.endswith('.h'):
        # It is found beside those who include it, which may be another header.
        changed = [f for f in sources if os.path.exists(os.path.join(ENGINE, f))]
        beside = [f for f in os.listdir(ENGINE) if f.endswith('.h')]
    for name in {file, *changed, *beside}:
        with open(os.path.join(folder, name), 'w', encoding='ascii') as f:
            f.write(text if name == file else read(name))
    kept = [o for f, o in sources.items() if f not in changed]
    mutant = os.path.join(folder, os.path.basename(program))
    subprocess.run([*compiler, '-I' + ENGINE, *(os.path.join(folder, f) for f in changed), *kept,
                    '-o', mutant], check=True, cwd=HERE)
    return mutant


def run(program, setting):
    env = dict(os.environ, **dict([setting.split('=', 1)] if setting else []))
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode == 0, done.stdout + done.stderr


def main():
    if len(sys.argv) < 5 or '--' not in sys.argv:
        print(__doc__)
        sys.exit(0 if sys.argv[1:2] in (['-h'], ['--help']) else 2)
    split = sys.argv.index('--')
    path, program, *settings = sys.argv[1:split]
    compiler = sys.argv[split + 1:]
    n = failed = 0

    def check(numbered):
        """What is wrong with a mutant, if anything."""
        number, (_, harmless, file, changes) = numbered
        text = read(file)
        for old, new in changes:
            there = list(place(old).finditer(text))
            if len(there) != 1:
                return f'{file}: a place is there {len(there)} times:\n{old}'
            text = text[:there[0].start()] + new + text[there[0].end():]
        try:
            mutant = build(program, compiler, number, file, text)
        except subprocess.CalledProcessError:
            return 'it cannot be built'
        for setting in settings:
            good, log = run(mutant, setting)
            if good and not harmless:
                return f'not noticed {setting}'
            if not good and harmless:
                return log
        return ''

    def tell(good, name, log=''):
        nonlocal n, failed
        n += 1
        failed += not good
        print(f'{"ok" if good else "not ok"} {n} {name}')
        if not good:
            print(''.join(f'#   {l}\n' for l in log.splitlines()[-30:]), end='', flush=True)

    print('TAP version 13')
    settings = settings or ['']
    for setting in settings:
        good, log = run(program, setting)
        tell(good, f'{os.path.basename(program)} {setting}'.strip(), log)
    todo = list(mutants(path))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, harmless, *_), why in zip(todo, pool.map(check, enumerate(todo))):
            tell(not why, f'{"harmless" if harmless else "noticed"}: {name}', why)
    print(f'1..{n}')
    print(f'# {n - failed} passed, {failed} failed')
    sys.exit(failed != 0)


main()
