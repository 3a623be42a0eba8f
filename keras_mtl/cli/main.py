"""The console command `keras-mtl`."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import keras

from keras_mtl.version import __version__


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
    except (ImportError, ValueError, OSError) as error:
        print(f"keras-mtl: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keras-mtl: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keras-mtl", description="Multi-task learning for Keras 3."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_benchmark(commands)
    _add_methods(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="train one network on QM9 with several weightings",
        description="Trains one network on eleven properties of the molecules "
        "of QM9 with each weighting, prints a table, saves plots and exports "
        "the best model.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_training_arguments(demo)
    demo.add_argument(
        "--seed", type=int, default=0, help="seed of all that is drawn"
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
        description="Compares weightings on QM9 over several seeds. Run again "
        "with the same arguments, an interrupted benchmark continues.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_training_arguments(benchmark)
    benchmark.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2],
        help="seeds, each with one run of every weighting",
    )
    benchmark.add_argument(
        "--output", default="benchmark.jsonl", help="file of the runs"
    )
    benchmark.set_defaults(run=_benchmark)


def _add_methods(commands: Any) -> None:
    methods = commands.add_parser("methods", help="list the weightings")
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
        help="print a table in Markdown, as in the README",
    )
    methods.set_defaults(run=_methods)


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    from keras_mtl.cli import demo

    parser.add_argument(
        "--epochs",
        type=_positive,
        default=demo.EPOCHS,
        help="epochs of each run",
    )
    parser.add_argument(
        "--molecules",
        type=_positive,
        default=demo.MOLECULES,
        help="number of molecules for training, validation and test together",
    )
    parser.add_argument(
        "--weightings",
        nargs="+",
        default=demo.WEIGHTINGS,
        metavar="NAME",
        help="names of `keras-mtl methods`; a + between two of them makes a "
        "chain (igb_v1+nash_mtl); the first one is the baseline of Δm",
    )
    parser.add_argument(
        "--backend",
        choices=["tensorflow", "jax", "torch"],
        default=keras.backend.backend(),
        help="backend of Keras",
    )
    parser.add_argument(
        "--data-dir", help="folder with the CSV files of QM9, if not qm9pack's"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, is {value}")
    return value


def _switch_backend(backend: str, arguments: Sequence[str]) -> None:
    """Starts again if Keras, which is imported, has another backend."""
    if backend != keras.backend.backend():
        os.environ["KERAS_BACKEND"] = backend
        command = [sys.executable, "-m", "keras_mtl.cli", *arguments]
        os.execv(sys.executable, command)


def _demo(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    _switch_backend(parsed.backend, arguments)
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
    _switch_backend(parsed.backend, arguments)
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
    if parsed.markdown:
        print(methods.markdown_table())
        return 0
    rows = [
        [x.strip("`") for x in method.values()] for method in methods.methods()
    ]
    rows.insert(0, list(methods.methods()[0]))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        print("  ".join(cells).rstrip())
    return 0


def _import_modules(names: Sequence[str]) -> None:
    # The script `keras-mtl` has its own folder in `sys.path`, not the current
    # one, as `python -m` has.
    if names and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        importlib.import_module(name)


if __name__ == "__main__":
    sys.exit(main())
