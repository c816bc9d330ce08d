"""Tiny folders of the published data sets, each in the layout in which its owners distribute it, oddities included."""

import h5py
import numpy as np
import PIL.Image
import scipy.io

from farl_hf.labels import CELEBA_ATTRIBUTES

# CelebA's own spelling.
ATTRIBUTE_NAMES = ["5_o_Clock_Shadow", *("_".join(map(str.capitalize, n.split("_"))) for n in CELEBA_ATTRIBUTES[1:])]


PHOTO_SIZE_WH = (24, 16)  # small, because many tests read the photos but never look where points lie


def write_photo(path, size_wh=None, seed=0):
    """A photo with noise, so that nothing about it is symmetric."""
    size_wh = size_wh or PHOTO_SIZE_WH
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def write_ids(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(ids, dtype=np.uint8)).save(path)


def write_text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def lapa_point(index):
    """Landmark `index` as it stands in the file: whole numbers and fractions both occur."""
    return index * 2, index + 0.25


def write_lapa(root, counts=(3, 1, 1)):
    for folder, count in zip(("train", "val", "test"), counts, strict=True):
        for number in range(count):
            stem = f"{number:05d}_0"
            write_photo(root / folder / "images" / f"{stem}.jpg", seed=number)
            ids = np.zeros(PHOTO_SIZE_WH[::-1], np.uint8)
            ids[4:8, 2:10], ids[0, 0] = number % 11, 10
            write_ids(root / folder / "labels" / f"{stem}.png", ids)
            points = [f"{x} {y}" for x, y in map(lapa_point, range(106))]
            write_text(root / folder / "landmarks" / f"{stem}.txt", ["106", *points])


def write_celebamask_hq(root, partition=True):
    """Photos 0 and 2001 train, 1 validation, 2 test; photo 0 has skin, hair over it, and an earring."""
    rows = ["idx    orig_idx    orig_file", "0  119612  119613.jpg", "1 170000 170001.jpg", "2 190000 190001.jpg"]
    write_text(root / "CelebA-HQ-to-CelebA-mapping.txt", [*rows, "2001 12 000013.jpg"])
    if partition:  # CelebA's, in its order, with photos that are not here
        groups = ["000013.jpg 0", "000014.jpg 0", "119613.jpg 0", "170001.jpg 1", "190001.jpg 2"]
        write_text(root / "list_eval_partition.txt", groups)
    for number in (0, 1, 2, 2001):
        write_photo(root / "CelebA-HQ-img" / f"{number}.jpg", (32, 32), seed=number)
        write_mask(root, number, "skin", np.s_[4:12, 4:12])
    write_mask(root, 0, "hair", np.s_[0:6, 0:16])
    write_mask(root, 0, "l_brow", np.s_[6:8, 9:11])
    write_mask(root, 0, "neck", np.s_[10:16, 4:12])


def write_mask(root, number, part, region, size=16):
    mask = np.zeros((size, size, 3), np.uint8)
    mask[region] = 255
    write_ids(root / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{part}.png", mask)


def write_celeba(root, flat=False):
    """Two train, one validation, one test photo."""
    names = [f"{number:06d}.jpg" for number in (1, 2, 3, 4)]
    anno, evaluation, images = (root, root, root) if flat else (root / "Anno", root / "Eval", root / "Img")
    signs = [[1 if (row + column) % 3 == 0 else -1 for column in range(40)] for row in range(4)]
    write_text(
        anno / "list_attr_celeba.txt",
        [
            "4",
            " ".join(ATTRIBUTE_NAMES) + " ",
            *(f"{n}  " + " ".join(f"{s:2d}" for s in r) for n, r in zip(names, signs, strict=True)),
        ],
    )
    header = (
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    )
    aligned = [f"{name}  {69 + row} 109  106  113   77  142   73  152  108  154" for row, name in enumerate(names)]
    write_text(anno / "list_landmarks_align_celeba.txt", ["4", header, *aligned])
    wild = [f"{name} 165  184  244  176  196  249  194  271  266  260" for name in names]
    write_text(anno / "list_landmarks_celeba.txt", ["4", header, *wild])
    write_text(
        anno / "list_bbox_celeba.txt",
        ["4", "image_id x_1 y_1 width height", *(f"{n}    95  71 226 313" for n in names)],
    )
    write_text(evaluation / "list_eval_partition.txt", [f"{n} {g}" for n, g in zip(names, (0, 0, 1, 2), strict=True)])
    for seed, name in enumerate(names):
        write_photo(images / "img_align_celeba" / name, (178, 218), seed)
        write_photo(images / "img_celeba" / name, (340, 400), seed)


def write_lfwa(root):
    """Four photos; 3 and 1 (counted from 1) are train, 2 and 4 test."""
    names = ["Ann_B\\Ann_B_0001.jpg", "Ann_B\\Ann_B_0002.jpg", "Cy_D\\Cy_D_0001.jpg", "Eli\\Eli_0001.jpg"]
    labels = np.array([[(row * 7 + column) % 2 for column in range(40)] for row in range(4)], dtype=np.float64)
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "lfw_att_40.mat", "w") as file:
        file["label"] = labels.T  # HDF5 has MATLAB's axes the other way round
        write_cells(file, "name", names)
        write_cells(file, "AttrName", [name.replace("_", " ") for name in ATTRIBUTE_NAMES])
    with h5py.File(root / "indices_train_test.mat", "w") as file:
        file["indices_img_train"], file["indices_img_test"] = np.array([[3.0, 1.0]]), np.array([[2.0], [4.0]])
        file["indices_identity_train"] = file["indices_identity_test"] = np.array([[1.0]])
    for seed, name in enumerate(names):
        write_photo(root / "lfw" / name.replace("\\", "/"), (25, 25), seed)
    return labels


def write_cells(file, key, texts):
    references = file.create_dataset(key, (1, len(texts)), dtype=h5py.ref_dtype)
    for number, text in enumerate(texts):
        cell = file.create_dataset(
            f"#refs#/{key}{number}", data=np.array([[ord(letter)] for letter in text], np.uint16)
        )
        references[0, number] = cell.ref


def hrnet_line(image, scale, centre, num_landmarks, first=10.0):
    """Landmark i is (first + i, first + 2i)."""
    points = [f"{first + i},{first + 2 * i}" for i in range(num_landmarks)]
    return ",".join([image, str(scale), str(centre[0]), str(centre[1]), *points])


def hrnet_header(num_landmarks):
    columns = [f"original_{i}_{axis}" for i in range(num_landmarks) for axis in "xy"]
    return ",".join(["image_name", "scale", "center_w", "center_h", *columns])


def write_w300(root, annotations=".", images="."):
    tables = {
        "train": [("helen/trainset/1_1.jpg", 1.5, (100.0, 120.0)), ("afw/2_1.jpg", 1.0, (70.0, 80.0))],
        "valid_common": [("lfpw/testset/image_0001.png", 0.5, (60.0, 70.0))],
        "valid_challenge": [("ibug/image_092_01.jpg", 1.0, (200.0, 200.0))],
    }
    tables["valid"] = tables["valid_common"] + tables["valid_challenge"]
    for split, faces in tables.items():
        lines = [hrnet_header(68), *(hrnet_line(*face, 68) for face in faces)]
        write_text(root / annotations / f"face_landmarks_300w_{split}.csv", lines)
    for image in ("helen/trainset/1_1.jpg", "afw/2_1.jpg", "lfpw/testset/image_0001.png", "ibug/image_092 _01.jpg"):
        write_photo(root / images / image)


# Photo, scale, centre, first coordinate; two faces share a photo, not one after the other.
WFLW_TRAIN = [
    ("0--Parade/a.jpg", 0.4, (50.0, 60.0), 10.0),
    ("9--Press/b.jpg", 0.4, (50.0, 60.0), 20.0),
    ("0--Parade/a.jpg", 0.8, (150.0, 60.0), 30.0),
]
WFLW_TEST = [("1--Hand/c.jpg", 0.5, (70.0, 80.0), 5.0), ("1--Hand/c.jpg", 0.5, (90.0, 80.0), 6.0)]
WFLW_SUBSETS = ("largepose", "expression", "illumination", "makeup", "occlusion", "blur")


def write_wflw_photos(root, folder="WFLW_images"):
    for image, *_ in (*WFLW_TRAIN, *WFLW_TEST):
        write_photo(root / folder / image)


def write_wflw_hrnet(root):
    """The second test face is in the subset blur, the first in the others."""
    tables = {"train": WFLW_TRAIN, "test": WFLW_TEST, "test_blur": WFLW_TEST[1:]}
    tables |= {f"test_{subset}": WFLW_TEST[:1] for subset in WFLW_SUBSETS[:-1]}
    for split, faces in tables.items():
        lines = [hrnet_header(98), *(hrnet_line(i, s, c, 98, first) for i, s, c, first in faces)]
        write_text(root / f"face_landmarks_wflw_{split}.csv", lines)
    write_wflw_photos(root)


def wflw_line(image, first, rectangle, flags):
    points = [f"{first + i} {first + 2 * i}" for i in range(98)]
    return " ".join([*points, *map(str, rectangle), *map(str, flags), image])


def write_wflw_original(root):
    folder = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    train = [wflw_line(image, first, (1, 2, 31, 42), (0,) * 6) for image, _, _, first in WFLW_TRAIN]
    write_text(folder / "list_98pt_rect_attr_train.txt", train)
    flags = [(1, 1, 1, 1, 1, 0), (0, 0, 0, 0, 0, 1)]
    test = [wflw_line(face[0], face[3], (3, 4, 13, 24), flag) for face, flag in zip(WFLW_TEST, flags, strict=True)]
    write_text(folder / "list_98pt_rect_attr_test.txt", test)
    write_wflw_photos(root)


AFLW_NAMES = ("0/image1.jpg", "0/image1.jpg", "2/image2.jpg", "3/image3.jpg", "3/image4.jpg")


def write_aflw19(root, names=AFLW_NAMES, ra=(4, 2, 1, 5, 3)):
    """By default five faces in four photos; `ra` takes rows 4, 2, 1 | 5, 3 (counted from 1). Row 3 is hidden in part.

    The first coordinate of a face is 100 times its row.
    """
    rows = range(len(names))
    data = np.array([[100 * row + i for i in range(38)] for row in rows], dtype=np.float64)
    mask = np.ones((len(names), 19), np.uint8)
    mask[2, 7] = 0
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    boxes = np.array([[10 * row, 10 * row + 8, 5 * row, 5 * row + 6] for row in rows], dtype=np.float64)
    info = {"nameList": cells, "bbox": boxes, "data": data, "mask_new": mask, "ra": np.array([ra])}
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / "AFLWinfo_release.mat", info)
    for name in names:
        write_photo(root / "data" / "flickr" / name)


def write_widerface_retinaface(root):
    points = "9.5 8.25 0.0 14 8 1.0 12 11 0.0 10 13 0.0 14 13 0.0"
    lines = [
        "# 0--Parade/0_a.jpg",
        f"4 5 12 10 {points} 0.82",
        "1 1 3 2 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 0.3",
        f"4 5 0 10 {points} 0.82",
        "# 1--Hand/1_none.jpg",
    ]
    write_text(root / "train" / "label.txt", lines)
    write_text(root / "val" / "label.txt", ["# 0--Parade/0_v.jpg", "2 3 4 5"])
    for folder, image in (
        ("train", "0--Parade/0_a.jpg"),
        ("train", "1--Hand/1_none.jpg"),
        ("val", "0--Parade/0_v.jpg"),
    ):
        write_photo(root / folder / "images" / image)


def write_widerface_original(root):
    train = ["0--Parade/0_a.jpg", "3", "4 5 12 10 0 0 0 0 0 0 ", "1 1 3 2 2 0 0 1 0 0 ", "2 2 0 0 0 0 0 0 0 0 "]
    train += ["1--Hand/1_none.jpg", "0", "0 0 0 0 0 0 0 0 0 0 "]
    write_text(root / "wider_face_split" / "wider_face_train_bbx_gt.txt", train)
    validation = ["0--Parade/0_v.jpg", "1", "2 3 4 5 0 0 0 0 0 0 "]
    write_text(root / "wider_face_split" / "wider_face_val_bbx_gt.txt", validation)
    for folder, image in (
        ("train", "0--Parade/0_a.jpg"),
        ("train", "1--Hand/1_none.jpg"),
        ("val", "0--Parade/0_v.jpg"),
    ):
        write_photo(root / f"WIDER_{folder}" / "images" / image)


WRITERS = {
    ("lapa", "default"): write_lapa,
    ("celebamask_hq", "farl"): write_celebamask_hq,
    ("celeba", "aligned"): write_celeba,
    ("lfwa", "default"): write_lfwa,
    ("w300", "default"): write_w300,
    ("wflw", "hrnet"): write_wflw_hrnet,
    ("wflw", "original"): write_wflw_original,
    ("aflw19", "default"): write_aflw19,
    ("widerface", "retinaface"): write_widerface_retinaface,
    ("widerface", "original"): write_widerface_original,
}
