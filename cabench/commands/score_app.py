"""Command line of `cabench score`: saved samples of a run, or images from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cabench.commands import options
from cabench.commands.options import CACHE, RESULTS
from cabench.errors import CabenchError

OF_BOTH = ("scale", "metrics", "plugin", "cache")
OF_RUN = (*OF_BOTH, "clip", "features", "results")
OF_IMAGES = (*OF_BOTH, "images", "data", "option", "fit", "n", "reference", "json")


def score(
    context: typer.Context,
    study: options.AnyStudyName = None,
    scale: options.RunScale = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, such as kid,precision_lite0,fid_inception (`cabench list`); "
            "default: the run's own, or for --images the scale's"
        ),
    ] = None,
    clip: Annotated[
        str | None, typer.Option(help="CLIP for clip_score: a transformers directory or hub name")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(callback=options.directory, help="Also write the samples' features, as npz"),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Score these images, not a run's: a folder, or an .npz file as ADM's"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="--images: data set whose real images they are compared with")
    ] = None,
    option: options.DataOptions = None,
    fit: Annotated[
        Literal["crop", "pad", "stretch"] | None,
        typer.Option(help="--images: resize images of another size than the data set's"),
    ] = None,
    n: Annotated[
        int | None, typer.Option(min=1, help="--images: score this many of them; default: all")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="--images: FID to published statistics, an .npz file of mu and sigma"),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="--images: print the scores as JSON alone")
    ] = False,
    plugin: options.Plugins = None,
    results: options.Results = RESULTS,
    cache: options.Cache = CACHE,
) -> None:
    """Score a run's saved samples with other metrics, or images from elsewhere. Trains nothing."""
    if images is None:
        if study is None:
            raise CabenchError("expected the name of a study, or --images")
        from cabench.commands.score import show_scores

        options.only(context, OF_RUN, "without --images a run's saved samples are scored")
        show_scores(study, scale, metrics, results, cache, features, clip, plugin or ())
        return
    if study is not None:
        raise CabenchError(f"expected the study {study} or --images, got both")
    from cabench.commands.score_images import Request, show_image_scores

    options.only(context, OF_IMAGES, "images from elsewhere belong to no run")
    request = Request(
        images=images,
        data=data,
        options=tuple(option or ()),
        metrics=metrics,
        scale=scale or "quick",
        fit=fit,
        n=n,
        reference=reference,
        plugins=tuple(plugin or ()),
        cache=cache,
    )
    show_image_scores(request, json)
