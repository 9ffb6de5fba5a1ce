"""What a paper cites that uses these tools, and how it numbers them."""

from __future__ import annotations

from dataclasses import dataclass

_DOI = "https://doi.org/"


@dataclass(frozen=True)
class Reference:
    """Authors, title and place of one publication, and where it is found."""

    text: str
    link: str


def _doi(text: str, doi: str) -> Reference:
    return Reference(text, _DOI + doi)


def _arxiv(text: str, number: str) -> Reference:
    return _doi(f"{text} arXiv {number}", f"10.48550/arXiv.{number}")


REFERENCES = {
    "isonet": _doi(
        "Liu, Y.-T., Zhang, H., Wang, H., Tao, C.-L., Bi, G.-Q. & Zhou, Z. H. Isotropic reconstruction for electron "
        "tomography with deep learning. Nature Communications 13, 6482 (2022).",
        "10.1038/s41467-022-33957-8",
    ),
    "isonet2": Reference(
        "Liu, Y.-T., Fan, H., Jih, J., Tran, L., Zhang, X. & Zhou, Z. H. IsoNet2 determines cellular structures at "
        "submolecular resolution without averaging. bioRxiv 2025.12.09.693325 (2025).",
        "https://pmc.ncbi.nlm.nih.gov/articles/PMC12869683",
    ),
    "noise2noise": _arxiv(
        "Lehtinen, J., Munkberg, J., Hasselgren, J., Laine, S., Karras, T., Aittala, M. & Aila, T. Noise2Noise: "
        "learning image restoration without clean data. Proc. 35th International Conference on Machine Learning, PMLR "
        "80, 2965–2974 (2018).",
        "1803.04189",
    ),
    "deepdewedge": _doi(
        "Wiedemann, S. & Heckel, R. A deep learning method for simultaneous denoising and missing wedge reconstruction "
        "in cryogenic electron tomography. Nature Communications 15, 8255 (2024).",
        "10.1038/s41467-024-51438-y",
    ),
    "warp": _doi(
        "Tegunov, D. & Cramer, P. Real-time cryo-electron microscopy data preprocessing with Warp. Nature Methods 16, "
        "1146–1152 (2019).",
        "10.1038/s41592-019-0580-y",
    ),
    "ctf": _doi(
        "Rohou, A. & Grigorieff, N. CTFFIND4: fast and accurate defocus estimation from electron micrographs. Journal "
        "of Structural Biology 192, 216–221 (2015).",
        "10.1016/j.jsb.2015.08.008",
    ),
    "unet": _doi(
        "Çiçek, Ö., Abdulkadir, A., Lienkamp, S. S., Brox, T. & Ronneberger, O. 3D U-Net: learning dense volumetric "
        "segmentation from sparse annotation. MICCAI 2016, Lecture Notes in Computer Science 9901, 424–432 (2016).",
        "10.1007/978-3-319-46723-8_49",
    ),
    "residual": _doi(
        "He, K., Zhang, X., Ren, S. & Sun, J. Identity mappings in deep residual networks. ECCV 2016, Lecture Notes in "
        "Computer Science 9908, 630–645 (2016).",
        "10.1007/978-3-319-46493-0_38",
    ),
    "attention": _arxiv(
        "Oktay, O. et al. Attention U-Net: learning where to look for the pancreas (2018).", "1804.03999"
    ),
    "swin": _arxiv(
        "Liu, Z. et al. Swin transformer: hierarchical vision transformer using shifted windows. ICCV 2021.",
        "2103.14030",
    ),
    "swin_unetr": _doi(
        "Hatamizadeh, A. et al. Swin UNETR: Swin transformers for semantic segmentation of brain tumors in MRI images. "
        "BrainLes 2021, Lecture Notes in Computer Science 12962, 272–284 (2022).",
        "10.1007/978-3-031-08999-2_22",
    ),
    "vtunet": _arxiv(
        "Peiris, H. et al. A robust volumetric transformer for accurate 3D tumor segmentation. MICCAI 2022.",
        "2111.13300",
    ),
    "scunet": _doi(
        "Zhang, K. et al. Practical blind image denoising via Swin-Conv-UNet and data synthesis. Machine Intelligence "
        "Research 20, 822–836 (2023).",
        "10.1007/s11633-023-1466-0",
    ),
    "muon": Reference(
        "Jordan, K. et al. Muon: an optimizer for hidden layers in neural networks (2024).",
        "https://kellerjordan.github.io/posts/muon/",
    ),
    "adamw": _arxiv("Loshchilov, I. & Hutter, F. Decoupled weight decay regularization. ICLR 2019.", "1711.05101"),
    "pytorch": _arxiv(
        "Paszke, A. et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS 2019.",
        "1912.01703",
    ),
    "fsc": Reference(
        "Harauz, G. & van Heel, M. Exact filters for general geometry three dimensional reconstruction. Optik 73, "
        "146–156 (1986).",
        "",
    ),
    "frank": _doi(
        "Frank, J. & Al-Ali, L. Signal-to-noise ratio of electron micrographs obtained by cross correlation. Nature "
        "256, 376–379 (1975).",
        "10.1038/256376a0",
    ),
    "rosenthal": _doi(
        "Rosenthal, P. B. & Henderson, R. Optimal determination of particle orientation, absolute hand, and contrast "
        "loss in single-particle electron cryomicroscopy. Journal of Molecular Biology 333, 721–745 (2003).",
        "10.1016/j.jmb.2003.07.013",
    ),
}


class Citations:
    """Numbers what is cited in the order of its first mention."""

    def __init__(self) -> None:
        self._keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        """As in [1, 4]."""
        self._keys += [key for key in keys if key not in self._keys]
        return f"[{', '.join(str(self._keys.index(key) + 1) for key in keys)}]"

    @property
    def listed(self) -> list[Reference]:
        """In the order of their numbers."""
        return [REFERENCES[key] for key in self._keys]
