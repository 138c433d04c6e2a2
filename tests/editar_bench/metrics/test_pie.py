"""PIE-Bench's metrics beside torchmetrics, transformers and torchvision, with the same random weights on both sides."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.image.lpips import _LPIPS

from editar_bench.builtin import METRICS
from editar_bench.evaluators.released import Released
from editar_bench.metrics import clean_pixels, pie_lpips, pie_pixels, pie_ssim, pie_structure
from editar_bench.metrics.protocols import PUBLISHED
from editar_bench.registry import load_target
from tests.editar_bench.metrics import published
from tests.editar_bench.metrics.making import example, gray, left_half, noise

SIZE = 96
REGIONS = {"": lambda mask: mask | True, "_unedit": lambda mask: ~mask, "_edit": lambda mask: mask}


def edit(seed=1):
    return example(condition=noise(seed, SIZE), edit_mask=left_half(SIZE))


def near(seed=1):
    """A result that resembles the source, as edits do."""
    return (0.7 * noise(seed, SIZE) + 0.3 * noise(9, SIZE)).astype(np.uint8)


def networks(**given):
    return Released(**given)


def unit(picture, keep):
    """As the published calculator masks: float32 in [0, 1] times the region, (1, 3, H, W)."""
    masked = picture.astype(np.float32) / 255 * keep[..., None].astype(np.float32)
    return torch.from_numpy(masked).permute(2, 0, 1)[None]


def reference_lpips(a, b):
    net = _LPIPS(pretrained=True, net="squeeze", pnet_rand=True).eval()
    state = published.random_squeeze().features.state_dict()
    own = net.net.state_dict()
    renamed = {name: state[name.split(".", 2)[2]] for name in own}  # slices.k.<layer>.…
    net.net.load_state_dict(renamed)
    return float(1e3 * net(2 * a - 1, 2 * b - 1))


def reference_ssim(a, b):
    """torchmetrics before 1.5 left the border of 5 pixels out; today's gives the whole map."""
    _, full = structural_similarity_index_measure(a, b, data_range=1.0, return_full_image=True)
    return float(100 * full[..., 5:-5, 5:-5].mean())


PIXELS = {
    "pie_psnr": lambda a, b: peak_signal_noise_ratio(a, b, data_range=1.0),
    "pie_mse": lambda a, b: 1e4 * torch.nn.functional.mse_loss(a, b),
    "pie_ssim": reference_ssim,
    "pie_lpips": reference_lpips,
}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("name", PIXELS)
def test_agrees_with_torchmetrics(name, region):
    metric = load_target(METRICS[name + region][0])(networks(lpips_squeeze=published.lpips()))
    sample = edit()
    keep = REGIONS[region](sample.edit_mask)
    (score,) = metric.score([sample], [near()])
    expected = float(PIXELS[name](unit(near(), keep), unit(sample.condition, keep)))
    assert score.value == pytest.approx(expected, rel=1e-5)


def test_the_published_background_is_not_normalized_by_area_and_the_clean_one_is():
    sample = example(condition=gray(0))
    (score,) = pie_pixels.PieMseUnedit(networks()).score([sample], [gray(51)])
    assert score.value == pytest.approx(1e4 * 0.2**2 / 2)  # an error of 0.2 on half of the frame
    (score,) = clean_pixels.CleanMseUnedit().score([sample], [gray(51)])
    assert score.value == pytest.approx(1e4 * 0.2**2)
    (score,) = clean_pixels.CleanPsnrUnedit().score([sample], [gray(51)])
    assert score.value == pytest.approx(-20 * np.log10(0.2))


def test_an_infinite_psnr_is_left_out_and_says_why():
    sample = edit()
    result = np.where(sample.edit_mask[..., None], 7, sample.condition).astype(np.uint8)
    equal, other = pie_pixels.PiePsnrUnedit(networks()).score([sample] * 2, [result, near()])
    assert equal.value is None and "infinite" in equal.reason
    assert other.value == pie_pixels.PiePsnrUnedit(networks()).score([sample], [near()])[0].value
    (score,) = clean_pixels.CleanPsnrUnedit().score([sample], [result])
    assert score.value == 50


@pytest.mark.parametrize("mask", [np.ones((SIZE, SIZE), bool), None])
@pytest.mark.parametrize("name", ["pie_psnr_unedit", "pie_ssim_unedit", "clean_mse_unedit"])
def test_without_a_background_the_sample_is_skipped_and_says_why(name, mask):
    whole = example(condition=noise(1, SIZE), edit_mask=mask)
    metric = load_target(METRICS[name][0])()
    without, with_value = metric.score([whole, edit()], [near(), near()])
    assert without.value is None and "outside" in without.reason
    assert with_value.value == metric.score([edit()], [near()])[0].value


def test_an_empty_mask_has_no_edited_part():
    sample = example(condition=noise(1, SIZE), edit_mask=np.zeros((SIZE, SIZE), bool))
    (score,) = pie_pixels.PieMseEdit(networks()).score([sample], [near()])
    assert score.value is None and "empty" in score.reason


def test_of_a_strip_the_last_square_counts_and_other_sizes_have_no_value():
    sample = edit()
    strip = np.concatenate([noise(5, SIZE), noise(6, SIZE), near()], axis=1)
    metric = pie_pixels.PieMse(networks())
    alone, of_strip, wrong = metric.score([sample] * 3, [near(), strip, noise(2, SIZE // 2)])
    assert of_strip.value == alone.value
    assert wrong.value is None and "48×48" in wrong.reason
    (narrow,) = metric.score([sample], [near()[:, :48]])
    assert narrow.value is None and "48×96" in narrow.reason


def reference_structure(a, b, peak=255.0):
    """The published steps in transformers and plain torch: resize without smoothing, keys, cosines, mean square."""
    vit = published.transformers_vit(published.tiny_dino().vit.state_dict())
    kept = []
    vit.layers[-1].attention.k_proj.register_forward_hook(lambda m, i, out: kept.append(out[0]))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    similarities = []
    for picture in (a, b):
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() * (peak / 255)
        x = torch.nn.functional.interpolate(x, size=(224, 224), mode="bilinear")
        with torch.no_grad():
            vit(pixel_values=(x - mean) / std)
        keys = kept[-1]
        lengths = keys.norm(dim=1)
        similarities.append(keys @ keys.T / (lengths[:, None] * lengths[None]).clamp(min=1e-8))
    return float(1e3 * torch.nn.functional.mse_loss(*similarities))


@pytest.mark.parametrize("region", REGIONS)
def test_structure_distance_agrees_with_transformers(region):
    metric = load_target(METRICS["pie_structure" + region][0])(
        networks(dino_vitb8=published.tiny_dino())
    )
    sample = edit()
    keep = REGIONS[region](sample.edit_mask)[..., None]
    (score,) = metric.score([sample], [near()])
    expected = reference_structure(sample.condition * keep, near() * keep)
    assert expected > 0.1
    assert score.value == pytest.approx(expected, rel=2e-5)


def test_structure_distance_takes_pictures_that_are_no_squares():
    source, result = noise(1, SIZE)[:60], near()[:60]
    sample = example(condition=source, edit_mask=left_half(SIZE)[:60])
    metric = pie_structure.PieStructure(networks(dino_vitb8=published.tiny_dino()))
    other, equal = metric.score([sample] * 2, [result, source])
    assert other.value > 0.1 and equal.value == 0


def test_positions_of_other_shapes_are_those_of_dinos_own_code(monkeypatch):
    dino = published.tiny_dino()
    table = torch.zeros_like(dino.vit.pos_embed)
    table[0, 1:, 0] = torch.arange(49) ** 2 % 11
    monkeypatch.setattr(dino.vit.pos_embed, "data", table)
    with torch.no_grad():
        large, nearly = dino.positions(12, 9)[0, ::18, 0], dino.positions(7, 7)[0, 1::9, 0]
    # By `interpolate_pos_encoding` of facebookresearch/dino's vision_transformer.py.
    golden = [0, 3.39428, 4.15368, 3.42319, 0.58988, 9.09446, 4.54662]
    assert large.numpy() == pytest.approx(golden, abs=1e-5)
    golden = [-0.03117, 4.22481, 4.49532, 3.25026, 9.13763, 1.01714]  # of 224×230 pixels
    assert nearly.numpy() == pytest.approx(golden, abs=1e-5)


def test_pictures_that_shrink_are_not_smoothed_before_the_structure_distance():
    """As by torchvision before 0.17, which the published numbers were made with."""
    size = 320
    sample = example(condition=noise(1, size), edit_mask=left_half(size))
    result = (0.7 * noise(1, size) + 0.3 * noise(9, size)).astype(np.uint8)
    metric = pie_structure.PieStructure(networks(dino_vitb8=published.tiny_dino()))
    (score,) = metric.score([sample], [result])
    expected = reference_structure(sample.condition, result)
    assert score.value == pytest.approx(expected, rel=2e-5) and expected > 0.1


def test_the_clean_structure_distance_divides_by_255():
    metric = pie_structure.CleanStructure(networks(dino_vitb8=published.tiny_dino()))
    (score,) = metric.score([edit()], [near()])
    assert score.value == pytest.approx(
        reference_structure(edit().condition, near(), 1.0), rel=2e-5
    )
    (unscaled,) = pie_structure.PieStructure(metric.networks).score([edit()], [near()])
    assert unscaled.value != pytest.approx(score.value, rel=1e-2)


def test_keys_of_a_source_are_computed_once_for_all_models():
    shared = networks(dino_vitb8=published.tiny_dino())
    shown = []
    read = shared["dino-vitb8"].keys
    shared["dino-vitb8"].keys = lambda x: shown.append(len(x)) or read(x)
    for seed in (2, 3):
        pie_structure.PieStructure(shared).score([edit()], [near(seed)])
    del shared["dino-vitb8"].keys
    assert shown == [1, 1, 1]  # source and result, then the other result


@pytest.mark.parametrize(
    "kind", [pie_ssim.PieSsimUnedit, pie_lpips.PieLpipsUnedit, pie_structure.PieStructure]
)
def test_a_value_does_not_depend_on_its_batch(kind):
    def fresh():
        return kind(networks(lpips_squeeze=published.lpips(), dino_vitb8=published.tiny_dino()))

    samples, results = [edit(s) for s in range(6)], [near(s + 1) for s in range(6)]
    together = fresh().score(samples, results)
    alone = [fresh().score([s], [r])[0] for s, r in zip(samples, results, strict=True)]
    assert [s.value for s in together] == pytest.approx([s.value for s in alone], rel=1e-4)


# --- CLIP ---


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return published.save_clip(tmp_path_factory.mktemp("w") / "openai" / "clip-vit-large-patch14")


@pytest.fixture(scope="module")
def clip(clip_folder):
    """Loaded as a real one is: from a local folder in the hub's layout."""
    from editar_bench.evaluators.openai_clip import OpenaiClip

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITAR_BENCH_WEIGHTS", str(clip_folder.parents[1]))
        return OpenaiClip.load("clip-L14").eval()


class Old(torch.nn.Module):
    """What torchmetrics expects of a model: features as tensors."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.config = model.config

    def get_image_features(self, *args):
        return self.model.get_image_features(*args).pooler_output

    def get_text_features(self, *args):
        return self.model.get_text_features(*args).pooler_output


def torchmetrics_parts(folder):
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    processor = CLIPProcessor(CLIPImageProcessorPil(), CLIPTokenizerFast.from_pretrained(folder))
    return Old(CLIPModel.from_pretrained(folder).eval()), processor


def torchmetrics_score(folder, picture, caption):
    from torchmetrics.functional.multimodal import clip_score

    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    with torch.no_grad():
        return float(
            clip_score(tensor, caption, model_name_or_path=lambda: torchmetrics_parts(folder))
        )


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("pie_clip_whole", lambda s, r: (r, s.target_caption)),
        ("pie_clip_edited", lambda s, r: (r * s.edit_mask[..., None], s.target_caption)),
        ("pie_clip_source", lambda s, r: (s.condition, s.source_caption)),
        ("clip_b16", lambda s, r: (r, s.target_caption)),
    ],
)
def test_clip_score_agrees_with_torchmetrics(clip, clip_folder, name, seen):
    metric = load_target(METRICS[name][0])(networks(clip_L14=clip, clip_B16=clip))
    size = 300  # larger than 224, so that the resize matters
    sample = example(
        condition=noise(1, size),
        edit_mask=left_half(size),
        source_caption="a cat",
        target_caption="x",
    )
    result = np.asarray(Image.fromarray(noise(3, 12)).resize((size, size)))
    (score,) = metric.score([sample], [result])
    expected = torchmetrics_score(clip_folder, *seen(sample, result))
    assert expected > 1
    assert score.value == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_a_crop_between_pixels_is_that_of_torchmetrics(clip, clip_folder):
    wide = np.asarray(
        Image.fromarray(noise(3, 12)).resize((331, 300))
    )  # 247 × 224: 11.5 pixels off
    metric = load_target(METRICS["clip_b16"][0])(networks(clip_B16=clip))
    (score,) = metric.score([example(target_caption="x")], [wide])
    expected = torchmetrics_score(clip_folder, wide, "x")
    assert score.value == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("role", "folder", "floor"),
    [
        ("clip-B16", "clip-vit-base-patch16", True),  # ControlNet++ asks torchmetrics
        ("clip-B32", "clip-vit-base-patch32", False),  # MagicBrush has OpenAI's own code
    ],
)
def test_which_clip_is_fed_as_by_torchmetrics(
    clip, clip_folder, tmp_path, monkeypatch, role, folder, floor
):
    from editar_bench.evaluators.openai_clip import OpenaiClip

    assert clip.floor  # ViT-L/14, PIE-Bench's
    shutil.copytree(clip_folder, tmp_path / "openai" / folder)
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path))
    assert OpenaiClip.load(role).floor == floor


def test_clip_is_shown_the_last_square_of_a_strip(clip):
    metric = load_target(METRICS["pie_clip_whole"][0])(networks(clip_L14=clip))
    strip = np.concatenate([noise(5, SIZE), near()], axis=1)
    alone, of_strip, wrong = metric.score([edit()] * 3, [near(), strip, noise(2, SIZE // 2)])
    assert of_strip.value == pytest.approx(alone.value) and alone.value > 0
    assert wrong.value is None and "48×48" in wrong.reason


def test_by_openais_own_code_a_cut_caption_keeps_its_end(clip):
    from editar_bench.evaluators.openai_clip import OpenaiClip

    own = OpenaiClip(clip.model, clip.tokenizer).eval()
    captions = [" ".join(word * 60) for word in (["a cat"], ["two dogs"])] + ["a cat"]
    slots = clip.model.config.text_config.max_position_embeddings
    with torch.no_grad():
        found = own.embed_texts(captions)
        for caption, features in zip(captions, found, strict=True):
            ids = clip.tokenizer(caption)["input_ids"]
            if len(ids) > slots:
                ids = [*ids[: slots - 1], clip.tokenizer.eos_token_id]
            out = clip.model.text_model(input_ids=torch.tensor([ids])).pooler_output
            alone = clip.model.text_projection(out)[0]
            assert torch.allclose(features, alone / alone.norm(), atol=1e-5)
    assert float(found[0] @ found[1]) < 0.999


def test_long_captions_are_cut_as_torchmetrics_cuts_them(clip, clip_folder):
    caption = "cat and dog " * 40
    picture = noise(3, 224)
    metric = load_target(METRICS["clip_b16"][0])(networks(clip_B16=clip))
    (score,) = metric.score([example(target_caption=caption)], [picture])
    with pytest.warns(UserWarning, match="truncate"):
        expected = torchmetrics_score(clip_folder, picture, caption)
    assert expected > 1
    assert score.value == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "role", "least"),
    [("pie_clip_whole", "clip-L14", 0), ("clip_b16", "clip-B16", -100)],
)
def test_negative_cosines_count_as_zero_where_torchmetrics_is_asked_for_one(
    clip, name, role, least
):
    metric = load_target(METRICS[name][0])(networks(clip_L14=clip, clip_B16=clip))
    captions = ["cat", "a dog", "zebra in snow", "x", "mmm"]
    pictures = [noise(3, 224), *(gray(level, 224) for level in (0, 255))]
    mask = np.ones((224, 224), bool)
    scores = [
        metric.score([example(condition=p, edit_mask=mask, target_caption=c)], [p])[0].value
        for c in captions
        for p in pictures
    ]
    raw = [
        100 * float(metric.networks.pictures(role, [p])[0] @ t)
        for t in metric.networks.texts(role, captions)
        for p in pictures
    ]
    assert min(raw) < 0 < max(raw)
    assert scores == pytest.approx([max(value, least) for value in raw])


def test_controlnets_mean_is_that_of_torchmetrics(clip, clip_folder):
    from torchmetrics.multimodal import CLIPScore

    metric = load_target(METRICS["clip_b16"][0])(networks(clip_B16=clip))
    captions = ["cat", "a dog", "zebra in snow", "x", "mmm", "mmm"]
    pictures = [noise(3, 224), *(gray(level, 224) for level in (0, 255, 0, 255, 100))]
    scores = metric.score([example(target_caption=c) for c in captions], pictures)
    whole = CLIPScore(model_name_or_path=lambda: torchmetrics_parts(clip_folder))
    for picture, caption in zip(pictures, captions, strict=True):
        whole.update(torch.from_numpy(picture).permute(2, 0, 1), caption)
    assert min(score.value for score in scores) < 0
    expected = float(whole.score / whole.n_samples)
    assert np.mean([s.value for s in scores]) == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_protocols_of_the_paper_metrics_are_published_or_clean():
    for name, (target, _) in METRICS.items():
        protocol = load_target(target).INFO.protocol
        assert protocol.startswith(("scenes.", "clean.")) or protocol in PUBLISHED, name
