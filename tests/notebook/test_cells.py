"""What the analysis of a cell finds, compared with what running it does."""

from __future__ import annotations

import builtins
import getpass
import pdb  # noqa: T100 - analysed, never entered
import time

import pytest

from jupyter_compute.errors import AskError
from jupyter_compute.notebook.cells import Cell, analyse

BUILTINS = frozenset(dir(builtins))


def found(cell: Cell) -> dict[str, set[str]]:
    """The names of a cell that are not Python's own."""
    names = {"reads": cell.reads - BUILTINS, "writes": cell.writes, "deletes": cell.deletes}
    return {key: set(value) for key, value in names.items() if value}


PYTHON = {
    "assignment": ("y = x + 1", "x", "y", ""),
    "augmented": ("total += x", "total x", "total", ""),
    "comprehension": ("sq = [i * k for i in data if (last := i)]", "data k", "sq last", ""),
    "walrus": ("print(n := len(a))", "a", "n", ""),
    "global": ("def f(z):\n    global G\n    G = z * w\nf(3)", "w", "G f", ""),
    "nested function": (
        "def f():\n    def g():\n        return deep\n    return g",
        "deep",
        "f",
        "",
    ),
    "class": ("class A(B):\n    k = v\n    def m(self): return o", "B v o", "A", ""),
    "class with global": ("class A:\n    global G\n    G = 1", "", "A G", ""),
    "import": (
        "import numpy as np, os.path\nfrom math import sin as s\nr = np.sum(q)",
        "q",
        "np os s r",
        "",
    ),
    "delete": ("del tmp", "tmp", "", "tmp"),
    "delete what was assigned": ("tmp = 1\ndel tmp", "", "tmp", "tmp"),
    "delete a global": ("def f():\n    global t\n    del t", "t", "f", "t"),
    "loop": ("for i in rng:\n    pass", "rng", "i", ""),
    "with": ("with open(p) as fh:\n    z = fh.read()", "p fh", "fh z", ""),
    "except": ("try:\n    z = 1\nexcept OSError as e:\n    pass", "e", "z e", "e"),
    "lambda": ("g = lambda a, b=dflt: a + b + free", "dflt free", "g", ""),
    "await": ("res = await fetch(url)", "fetch url", "res", ""),
    "async for": ("async for row in rows:\n    pass", "rows", "row", ""),
    "async def": ("async def f():\n    return await other()", "other", "f", ""),
    "condition": ("if cond:\n    maybe = 1\nmaybe", "cond maybe", "maybe", ""),
    "assigned before": ("a = 1\nb = a + c", "c", "a b", ""),
    "augmented, then assigned": ("a += 1\na = 2", "a", "a", ""),
    "deleted, then assigned": ("del a\na = 2", "a", "a", "a"),
    "assigned after a block": ("if c:\n    b\na = b = 1\na, b", "c b", "a b", ""),
    "assigned after": ("b = a\na = 1", "a", "a b", ""),
    "assigned in a loop": ("for i in r:\n    a = i\nprint(a)", "r a i", "a i", ""),
    "assigned in a try": ("try:\n    a = f()\nexcept OSError:\n    pass\na", "f a", "a", ""),
    "assigned before a branch": ("a = 1\nif c:\n    print(a)", "c", "a", ""),
    "unpacked": ("(a, [b, *c]) = t\na, b, c", "t", "a b c", ""),
    "read by a function first": ("def f():\n    return k\nk = 1\nf()", "k", "f k", ""),
    "decorator and annotations": ("@deco\ndef h(a: T) -> U: ...", "deco T U", "h", ""),
    "annotation only": ("x: int", "", "", ""),
    "match": ("match cmd:\n    case {'k': v}: out = v", "cmd v", "out v", ""),
    "attributes": ("df.loc[mask, 'c'] = val\nlst.append(3)", "df mask val lst", "", ""),
    "f-string": ("f'{x!r:>{width}}'", "x width", "", ""),
    "docstring": ("'''only a text'''", "", "", ""),
    "compatibility characters": ("ﬁ = ﬀ", "ff", "fi", ""),
    "dos line ends": ("x = 1\r\ny = x + z\r\n", "z", "x y", ""),
    "pandas query": ("df.query('age > @limit and b')", "df limit", "", ""),
    "sql over variables": ("duckdb.sql('SELECT * FROM sales')", "duckdb sales", "", ""),
    "eval of a text": ("v = eval('hidden + 1')", "hidden", "v", ""),
    "exec of a text": ("exec('k = hidden')", "hidden", "k", ""),
}

MAGICS = {
    "shell": ("!wc {path} $folder ${limit} word", "path folder limit", ""),
    "shell expression": ("!echo {d['k'][limit]}", "d limit", ""),
    "shell to a name": ("files = !ls {path}", "path", "files"),
    "shell after assignment": ("path = 'x'\n!ls {path} {folder}", "folder", "path"),
    "shell before assignment": ("!ls {path}\npath = 'x'", "path", "path"),
    "shell in a block": ("if limit:\n    !ls {path}", "limit path", ""),
    "double shell": ("!!ls {path}", "path", ""),
    "time": ("%time z = f(x)", "f x", "z"),
    "timeit with options": ("%timeit -n 3 -r 2 -q f(x)", "f x", ""),
    "timeit with joined options": ("%timeit -n3 -o f(x)", "f x", ""),
    "prun": ("%prun -s cumulative f(x)", "f x", ""),
    "cell time": ("%%time\nz = x\nw = z", "x", "z w"),
    "cell timeit": ("%%timeit y = x\nf(y)", "f x", "y"),
    "capture": ("%%capture --no-stderr out\nz = x", "x", "out z"),
    "magic in a magic": ("%%time\n%time z = x\n!ls {path}", "x path", "z"),
    "magic to a name": ("v = %env HOME", "", "v"),
    "cd": ("%cd $folder", "folder", ""),
    "cd to a word": ("%cd folder", "", ""),
    "bash": ("%%bash --out text --err problems\necho limit", "", "text problems"),
    "help": ("df?", "df", ""),
    "not known": ("%%sql\nselect * from sales", "sales", ""),
    "not python": ("%time f(x", "f x", ""),
    "compatibility characters": ("!ls {ﬀ}", "ff", ""),
}

NOTEBOOK = dict.fromkeys(
    ("path", "folder", "limit", "d", "f", "x", "q", "df", "sales", "word", "ff", "y"), 1
)


class TestNames:
    @pytest.mark.parametrize("case", PYTHON, ids=str)
    def test_of_python(self, case):
        source, reads, writes, deletes = PYTHON[case]
        expected = {"reads": reads, "writes": writes, "deletes": deletes}
        namespace = {"limit": 1, "sales": 1, "hidden": 1}
        assert found(analyse(source, namespace=namespace)) == {
            key: set(names.split()) for key, names in expected.items() if names
        }

    @pytest.mark.parametrize("case", MAGICS, ids=str)
    def test_of_magics(self, case):
        source, reads, writes = MAGICS[case]
        cell = analyse(source, namespace=NOTEBOOK)
        assert (set(cell.reads - BUILTINS), set(cell.writes)) == (
            set(reads.split()),
            set(writes.split()),
        )

    def test_words_in_a_magic_count_only_if_the_notebook_has_them(self):
        assert not analyse("!awk '{print $name}' {path}").reads

    @pytest.mark.parametrize(
        "source",
        [
            "from math import *",
            "import __main__",
            "globals()['x']",
            "eval(text)",
            "f = exec",
            "vars()",
            "get_ipython().user_ns['x']",
            "%run script.py",
            "%%sql\nselect 1",
            "%time globals()",
        ],
    )
    def test_dynamic(self, source):
        assert analyse(source).dynamic

    @pytest.mark.parametrize(
        "source", ["from math import sin", "vars(x)", "!ls", "%time x = 1", "x.eval(y)", "%cd a"]
    )
    def test_not_dynamic(self, source):
        assert not analyse(source).dynamic

    def test_an_own_eval_is_not_dynamic(self):
        assert not analyse("eval(text)", namespace={"eval": len}).dynamic

    def test_nothing_is_certain_after_code_that_hides_its_reads(self):
        assert "x" in analyse("eval(text)\nx = 1\nx").reads

    def test_imports(self):
        cell = analyse("import a.b\nfrom c import d\nfrom . import e\n%time import f")
        assert cell.imports == {"a.b", "c", "f"}

    def test_label_is_the_first_line_with_code(self):
        assert analyse("\n# about\n  \nmodel = fit(df)\nmodel").label == "model = fit(df)"


class TestInputs:
    def test_only_what_the_notebook_has(self):
        assert analyse("y = a + b + len(c)").inputs({"a": 1, "c": 2, "d": 3}) == ["a", "c"]

    def test_pythons_own_stay(self):
        assert analyse("print(open)").inputs({"print": print, "open": open}) == []

    @pytest.mark.parametrize("name", ["id", "print", "input", "exit", "remote"])
    def test_own_names_win_over_pythons(self, name):
        assert analyse(f"{name}(1)", namespace={name: 5}).inputs({name: 5}) == [name]

    def test_names_of_the_shell_stay(self, shell):
        shell.user_ns["x"] = 1
        cell = analyse("x, open, exit, quit, get_ipython, print", namespace=shell.user_ns)
        assert cell.inputs(shell.user_ns) == ["x"]


class TestLines:
    def test_code_has_the_lines_of_the_notebook(self):
        cell = analyse("\n\n%time x = 1\ny = 2", first_line=2)
        assert cell.code.splitlines()[4] == "y = 2"

    @pytest.mark.parametrize(
        ("source", "line", "text"),
        [
            ("x = = 1", 2, "x = = 1"),
            ("x = 1\n\ny = = 2\n", 4, "y = = 2"),
            ("\n\ny = = 2", 4, "y = = 2"),
            ("%time x = 1\ny = = 2", 3, "y = = 2"),
            ("x = 1\r\ny = = 2", 3, "y = = 2"),
            ("return 1", 2, "return 1"),
            ("x = 1\nyield x", 3, "yield x"),
            ("x = 1\nnonlocal x", 3, "nonlocal x"),
            ("x = 1\nbreak", 3, "break"),
        ],
    )
    def test_syntax_errors_are_those_of_the_cell(self, source, line, text):
        with pytest.raises(SyntaxError) as caught:
            analyse(source, filename="the cell")
        error = caught.value
        assert (error.filename, error.lineno) == ("the cell", line)
        assert error.text is not None
        assert error.text.rstrip() == text

    @pytest.mark.parametrize(
        ("source", "line"),
        [
            ("def f():\n        a = 1\n    b = 2", 4),
            ("%time y = 1\nif y:\nx = 1", 4),
            ("if 1:\n\tx = 1\n        y = 2", 4),
        ],
    )
    def test_indentation_errors_too(self, source, line):
        with pytest.raises(IndentationError) as caught:
            analyse(source, filename="the cell")
        assert (caught.value.filename, caught.value.lineno) == ("the cell", line)

    def test_warnings_are_left_to_the_run(self, recwarn):
        analyse("x = 1\n'a' is 'a'\n'\\d'")
        assert not recwarn.list


def ask_own() -> str:
    return "own"


class TestRefusals:
    @pytest.mark.parametrize("source", ["", "  \n\t\n", "# a\n\n# b", "\n"])
    def test_nothing_to_run(self, source):
        with pytest.raises(AskError, match="nothing to run"):
            analyse(source)

    @pytest.mark.parametrize(
        ("source", "where"),
        [
            ("x\0", "line 2, column 2"),
            ("a\nbc\ud800", "line 3, column 3"),
            ("\0\nx", "line 2, column 1"),
        ],
    )
    def test_characters(self, source, where):
        with pytest.raises(AskError, match=where):
            analyse(source)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("%%remote --cpu 2\nx", "line 2: %%remote"),
            ("x = 1\n%%remote\ny", "line 3: %%remote"),
            ("x = 1\n%remote", "line 3: %%remote"),
            ("%%time\n\n%%remote\nx", "line 4: %%remote"),
            ("if 1:\n    %load_ext jupyter_compute", "line 3: %load_ext jupyter_compute"),
            ("%reload_ext jupyter_compute", "line 2: %reload_ext jupyter_compute"),
            ("%compute status", "line 2: %compute"),
            ("%debug", "line 2: %debug"),
            ("%%debug\nx", "line 2: %%debug"),
            ("x = 1\n%pdb on", "line 3: %pdb"),
            ("%run -d script.py", "line 2: %run"),
            ("breakpoint()", "line 2: breakpoint"),
            ("def f():\n    return input('x')", "line 3: input"),
            ("[input() for _ in x]", "line 2: input"),
            ("pdb.set_trace()", "line 2: pdb.set_trace"),
            ("import pdb as p\np.set_trace()", "line 3: p.set_trace"),
            ("def f():\n    from getpass import getpass as ask\n    ask()", "line 4: ask"),
            ("secret()", "line 2: secret"),
            ("import builtins; builtins.input()", "line 2: builtins.input"),
            ("from builtins import input\ninput()", "line 3: input"),
            ("import IPython; IPython.embed()", "line 2: IPython.embed"),
            ("%time input()", "line 2: input"),
            ("%%time\n\nbreakpoint()", "line 4: breakpoint"),
            ("exec('input()')", "line 2: input"),
        ],
    )
    def test_what_cannot_run_remotely(self, source, message):
        namespace = {"pdb": pdb, "secret": getpass.getpass, "x": 1}
        with pytest.raises(AskError) as caught:
            analyse(source, namespace=namespace)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "source",
        [
            "def f(input):\n    return input()",
            "input = ask_own\ninput()",
            "from forms import input\ninput()",
            "x.input()",
            "f = input",
            "pdb.set_trace()",
            "getpass()",
            "%load_ext autoreload",
            "%run script.py",
            "set_trace()",
        ],
    )
    def test_what_only_looks_like_it(self, source):
        assert analyse(source, namespace={"pdb": object(), "getpass": ask_own}).code

    def test_an_own_input_is_called(self):
        assert analyse("input()", namespace={"input": ask_own}).inputs({"input": ask_own})


def test_a_typical_cell_takes_no_time():
    source = "import numpy as np\n" + "\n".join(
        f"y{n} = [np.sum(x[i] * k) for i in range(10)]" for n in range(10)
    )
    analyse(source)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        analyse(source)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.002
