"""The parser of the command, and what calls `keras_mtl` for it."""

import argparse
import importlib
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from keras_mtl_console import installation

BACKENDS = ["tensorflow", "jax", "torch"]
EPOCHS = 10
MOLECULES = 10000
WEIGHTINGS = [
    "equal",
    "scale_invariant",
    "uncertainty",
    "igb_v1",
    "nash_mtl",
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after `keras-mtl`, by default those of the command
            line.

    Returns:
        The exit status of the process: 0 if all went well.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser().parse_args(arguments)
    try:
        return parsed.run(parsed, arguments)
    except ImportError as error:
        print(f"keras-mtl: {error}", file=sys.stderr)
        if error.name not in getattr(parsed, "modules", []):
            print(
                "`keras-mtl doctor` shows what is installed, and what to type "
                "for what is missing.",
                file=sys.stderr,
            )
        return 1
    except BrokenPipeError:
        # What reads the output, such as `head`, has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"keras-mtl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keras-mtl: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-mtl",
        description="Multi-task learning for Keras 3. "
        "`keras-mtl COMMAND --help` explains a command.",
    )
    parser.add_argument(
        "--version", action="version", version=installation.version()
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_benchmark(commands)
    _add_methods(commands)
    doctor = commands.add_parser(
        "doctor",
        help="show what is installed, and what to type for what is missing",
        description="Shows the versions of Python, Keras and keras_mtl, which "
        "backends and extras are installed, and what to type for those that "
        "are missing. The exit status is 0 if a model can be trained.",
    )
    doctor.set_defaults(run=_doctor)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="train one network on QM9 with several weightings",
        description="Trains one network on eleven properties of the molecules "
        "of QM9, once with each weighting. Prints a table, saves plots and "
        "exports the best model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_training_arguments(demo)
    demo.add_argument(
        "--seed", type=_seed, default=0, help="seed of all random numbers"
    )
    demo.add_argument(
        "--output-dir",
        default="demo_results",
        help="folder for the plots and the table",
    )
    demo.add_argument(
        "--export-dir",
        default="saved_models/qm9",
        help="folder for the best model",
    )
    demo.set_defaults(run=_demo)


def _add_benchmark(commands: Any) -> None:
    benchmark = commands.add_parser(
        "benchmark",
        help="compare weightings on QM9 over several seeds",
        description="Compares weightings on QM9 over several seeds. If it was "
        "interrupted, the same command continues it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_training_arguments(benchmark)
    benchmark.add_argument(
        "--seeds",
        type=_seed,
        nargs="+",
        default=[0, 1, 2],
        help="seeds; each weighting is trained once with each of them",
    )
    benchmark.add_argument(
        "--output",
        default="benchmark.jsonl",
        help="file to which each run is added as it ends",
    )
    benchmark.set_defaults(run=_benchmark)


def _add_methods(commands: Any) -> None:
    methods = commands.add_parser(
        "methods",
        help="list the weightings, and when to use which",
        description="Lists the weightings by kind, with one line each on when "
        "to use it. The options choose some of them.",
    )
    _add_choices(methods)
    methods.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module first, from the current folder too, so that the "
        "weightings which it registers are listed; may be given several times",
    )
    methods.add_argument(
        "--markdown",
        action="store_true",
        help="print a table in Markdown, with papers and classes",
    )
    methods.set_defaults(run=_methods)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        type=str.lower,
        choices=["loss", "gradient", "wrapper"],
        help="list the methods that look at the task losses alone, those that "
        "also look at the gradients of the tasks, or those that change another "
        "method",
    )
    parser.add_argument(
        "--cost",
        type=str.upper,
        choices=["1", "T"],
        help="list the methods of which a step costs one backward pass, as in "
        "plain training, or those of one backward pass for each of T tasks",
    )
    parser.add_argument(
        "--needs",
        type=str.lower,
        choices=["none", "positive-losses", "epochs", "gradients"],
        help="list the methods that need losses above 0, that need to know "
        "when an epoch begins and ends, that need the gradients of the tasks, "
        "or that need none of these",
    )


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--epochs",
        type=_positive,
        default=EPOCHS,
        help="epochs of each run",
    )
    parser.add_argument(
        "--molecules",
        type=_positive,
        default=MOLECULES,
        help="number of molecules for training, validation and test together",
    )
    parser.add_argument(
        "--weightings",
        nargs="+",
        default=WEIGHTINGS,
        metavar="NAME",
        help="names from `keras-mtl methods`; a + between two of them chains "
        "them (igb_v1+nash_mtl); Δm compares with the first one",
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default=installation.configured_backend(),
        help="backend of Keras",
    )
    parser.add_argument(
        "--data-dir",
        help="folder with the CSV files of QM9, if not those of qm9pack",
    )


def _positive(text: str) -> int:
    return _integer(text, 1, "a positive integer")


def _seed(text: str) -> int:
    return _integer(text, 0, "0 or a positive integer")


def _integer(text: str, smallest: int, expected: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = smallest - 1
    if value < smallest:
        raise argparse.ArgumentTypeError(
            f"Expected {expected}. Received: {text!r}"
        )
    return value


def _use_backend(backend: str, arguments: Sequence[str]) -> None:
    """Chooses the backend of Keras, which cannot change once it is imported."""
    os.environ["KERAS_BACKEND"] = backend
    keras = sys.modules.get("keras")
    if keras is not None and keras.backend.backend() != backend:
        # The command was started as a part of the package, which has imported
        # Keras.
        command = [sys.executable, "-m", "keras_mtl_console", *arguments]
        os.execv(sys.executable, command)


def _demo(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    _use_backend(parsed.backend, arguments)
    from keras_mtl.cli import demo

    demo.run_demo(
        epochs=parsed.epochs,
        molecules=parsed.molecules,
        weightings=parsed.weightings,
        seed=parsed.seed,
        output_dir=parsed.output_dir,
        export_dir=parsed.export_dir,
        data_dir=parsed.data_dir,
    )
    return 0


def _benchmark(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    _use_backend(parsed.backend, arguments)
    from keras_mtl.cli import demo

    demo.run_benchmark(
        epochs=parsed.epochs,
        molecules=parsed.molecules,
        weightings=parsed.weightings,
        seeds=parsed.seeds,
        path=parsed.output,
        data_dir=parsed.data_dir,
    )
    return 0


def _methods(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    from keras_mtl.cli import methods

    _import_modules(parsed.modules)
    needs = parsed.needs and parsed.needs.replace("-", " ")
    rows = methods.methods(parsed.kind, parsed.cost, needs)
    if not rows:
        print("keras-mtl: no method is of this kind, cost and need")
        return 1
    if parsed.markdown:
        print(methods.markdown_table(rows))
    else:
        columns = shutil.get_terminal_size().columns
        print(methods.listing(rows, width=max(40, min(columns, 100))))
    return 0


def _import_modules(names: Sequence[str]) -> None:
    # The script `keras-mtl` has its own folder in `sys.path`, not the current
    # one, as `python -m` has.
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        importlib.import_module(name)


def _doctor(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    from keras_mtl_console.doctor import run

    return run()
