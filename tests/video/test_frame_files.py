from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import moved_face, packets, write_video

from farl_hf import UnreadableVideoError
from farl_hf.video import VideoFile, video_files
from farl_hf.video.video_files import VideoWriter

FRAMES = [moved_face(2 * index, 10) for index in range(6)]


def copy(source, target, size_wh=None):
    video = VideoFile(source)
    with VideoWriter(target, video) as writer:
        for frame in video.frames():
            writer.write(frame.image if size_wh is None else frame.image.resize(size_wh), frame.time_s)
        writer.close()
    return writer


def test_uneven_times_and_pictures_survive_reading_and_writing(tmp_path):
    times_s = [0.0, 0.04, 0.1, 0.5, 0.54, 1.0]
    source = write_video(tmp_path / "a.mp4", FRAMES, times_s)
    copy(source, tmp_path / "b.mp4")
    for path in (source, tmp_path / "b.mp4"):
        frames = list(VideoFile(path).frames())
        assert [frame.index for frame in frames] == list(range(6))
        np.testing.assert_allclose([frame.time_s for frame in frames], times_s, atol=1e-3)
        for frame, pixels in zip(frames, FRAMES, strict=True):
            assert np.abs(np.asarray(frame.image, float) - pixels).mean() < 6


def test_colours_are_the_same_after_writing(tmp_path):
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:64], pixels[:, 64:] = (220, 30, 30), (30, 200, 40), (40, 50, 210)
    source = write_video(tmp_path / "a.mp4", [pixels] * 2)
    copy(source, tmp_path / "b.mp4")
    first, second = (np.asarray(next(VideoFile(tmp_path / name).frames()).image, float) for name in ("a.mp4", "b.mp4"))
    assert np.abs(first - second)[:, 8:24].mean() < 5
    assert np.abs(first - second).mean() < 5


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("vflip", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_rotated_and_mirrored_videos_are_shown_upright(tmp_path, rotation, hflip, vflip):
    """All eight ways, each in the two forms that a rotation and two mirrors give."""
    source = write_video(tmp_path / "a.mp4", FRAMES[:2], rotation=rotation, hflip=hflip, vflip=vflip)
    image = next(VideoFile(source).frames()).image
    expected = np.rot90(FRAMES[0], rotation // 90)
    expected = expected[:: -1 if vflip else 1, :: -1 if hflip else 1]
    assert image.size == expected.shape[1::-1]
    assert np.abs(np.asarray(image, float) - expected).mean() < 6


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(2)), (180, Fraction(2)), (90, Fraction(1, 2))])
def test_pixels_that_are_not_square_turn_with_the_frame(tmp_path, rotation, expected):
    source = write_video(tmp_path / "a.mp4", FRAMES[:2], rotation=rotation, pixel_ratio=Fraction(2))
    copy(source, tmp_path / "b.mp4")
    assert VideoFile(tmp_path / "b.mp4").sample_aspect_ratio == expected


def test_odd_sides_are_written(tmp_path):
    source = write_video(tmp_path / "a.mp4", FRAMES)
    copy(source, tmp_path / "b.mp4", (81, 61))
    assert next(VideoFile(tmp_path / "b.mp4").frames()).image.size == (82, 62)


def test_sound_is_copied_as_it_is(tmp_path):
    source = write_video(tmp_path / "a.mp4", FRAMES * 5, sound="aac")
    copy(source, tmp_path / "b.mp4")
    assert packets(tmp_path / "b.mp4") == packets(source) != []


def test_sound_that_mp4_cannot_hold_is_told(tmp_path):
    writer = copy(write_video(tmp_path / "a.avi", FRAMES * 3, sound="pcm_mulaw"), tmp_path / "b.mp4")
    assert "(pcm_mulaw) was skipped" in writer.sound_note
    assert len(list(VideoFile(tmp_path / "b.mp4").frames())) == 18


def write_noise(path, codec, layout):
    """A video with sound that is noise, another in each channel."""
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 160, 120, "yuv420p"
        sound = container.add_stream(codec, rate=16000, layout=layout)
        for pixels in FRAMES:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(picture.encode(None))
        noise = np.random.default_rng(0).integers(-9000, 9000, (1, 3000 * channels), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout=layout)
        frame.sample_rate = 16000
        for converted in av.AudioResampler(format=sound.format, layout=layout, rate=16000).resample(frame):
            container.mux(sound.encode(converted))
        container.mux(sound.encode(None))
    return path


def samples(path):
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le", "pcm_f32le"])
@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_channels_without_an_order_get_the_usual_one(tmp_path, name, codec, layout):
    source = write_noise(tmp_path / name, codec, layout)
    writer = copy(source, tmp_path / "b.mp4")
    assert writer.sound_note is None
    assert len(list(VideoFile(tmp_path / "b.mp4").frames())) == len(FRAMES)
    assert np.array_equal(samples(tmp_path / "b.mp4"), samples(source))
    with av.open(str(tmp_path / "b.mp4")) as container:
        said = container.streams.audio[0].codec_context.layout
    assert said.nb_channels == av.AudioLayout(layout).nb_channels
    assert said.name == layout or layout == "mono"  # one channel has no order


def test_sound_that_is_refused_at_the_end_of_the_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(video_files, "_usual_layout", lambda stream: None)
    writer = copy(write_noise(tmp_path / "a.mkv", "pcm_s16le", "stereo"), tmp_path / "b.mp4")
    assert "(pcm_s16le) was skipped" in writer.sound_note
    assert len(list(VideoFile(tmp_path / "b.mp4").frames())) == len(FRAMES)
    assert len(list(tmp_path.iterdir())) == 2


def test_sound_whose_times_go_back_is_written_as_far_as_they_grow(tmp_path):
    first = write_video(tmp_path / "first.ts", FRAMES * 3, sound="mp2")
    longer = write_video(tmp_path / "longer.ts", FRAMES * 5, sound="mp2")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + longer.read_bytes())
    copy(joined, tmp_path / "b.mp4")
    assert len(list(VideoFile(tmp_path / "b.mp4").frames())) == 8 * len(FRAMES)
    start = packets(first)
    assert packets(tmp_path / "b.mp4")[: len(start)] == start
    assert len(packets(tmp_path / "b.mp4")) == len(packets(longer))


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_truncated_files_give_their_first_frames_and_then_the_fault(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 80, 3), dtype=np.uint8)
    write_video(path, list(noise))
    if name.endswith("mp4"):  # the table of contents moved to the front, as of files made for the web
        copy(path, tmp_path / "front.mp4")
        path = tmp_path / "front.mp4"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = []
    with pytest.raises(UnreadableVideoError, match="after frame"):
        read_into(frames, VideoFile(path))
    assert 5 < len(frames) < 35


def read_into(frames, video):
    for frame in video.frames():
        frames.append(frame)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_titles_may_be_in_any_encoding(tmp_path, name):
    source = write_video(tmp_path / name, FRAMES)
    content = source.read_bytes()
    assert b"Lavf" in content
    source.write_bytes(content.replace(b"Lavf", b"La\xedf"))
    copy(source, tmp_path / "copy.mp4")
    assert len(list(VideoFile(tmp_path / "copy.mp4").frames())) == len(FRAMES)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "no video at"), (b"", "empty"), (b"not a video" * 99, "cannot be opened")]
)
def test_what_is_no_video_is_told(tmp_path, content, said):
    path = tmp_path / "x.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match=said):
        VideoFile(path)


@pytest.mark.parametrize(
    "name", ["cam1:front.mp4", "file:a.mp4", "pipe:0.mp4", "http:a.mp4", "caf\udce9.mp4", "-i %d.mp4"]
)
def test_names_that_ffmpeg_would_take_for_something_else(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.mp4").write_bytes(write_video(tmp_path / "a.mp4", FRAMES, sound="aac").read_bytes())
    (tmp_path / "plain.mp4").rename(name)
    frames = [np.asarray(frame.image) for frame in VideoFile(name).frames()]
    assert np.array_equal(frames, [np.asarray(frame.image) for frame in VideoFile("a.mp4").frames()])
    video = VideoFile(name)
    with VideoWriter(Path("out:" + name), video) as writer:
        for frame in video.frames():
            writer.write(frame.image, frame.time_s)
        writer.close()
    assert len(list(VideoFile("out:" + name).frames())) == len(frames)
    assert len(list(tmp_path.iterdir())) == 3


def test_an_exception_leaves_no_file(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", FRAMES))
    (tmp_path / ".b.mp4.abcd1234.partial").mkdir()  # of a run that was killed
    writer = VideoWriter(tmp_path / "b.mp4", video)
    for index in range(60):  # encoders hold frames back
        writer.write(Image.fromarray(FRAMES[index % 6]), index / 25)
    assert len(list(tmp_path.iterdir())) == 2
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_changing_sizes_are_refused(tmp_path):
    video = VideoFile(write_video(tmp_path / "a.mp4", FRAMES))
    with VideoWriter(tmp_path / "b.mp4", video) as writer:
        writer.write(Image.new("RGB", (64, 48)), 0.0)
        with pytest.raises(UnreadableVideoError, match="change from"):
            writer.write(Image.new("RGB", (32, 48)), 0.1)


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile other.mp4\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "1\n00:00:01,000 --> 00:00:02,000\nhello\n",
    ],
    ids=["playlist", "list", "session", "text"],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.avi"])
def test_lists_of_other_files_are_no_videos(tmp_path, content, name):
    write_video(tmp_path / "other.mp4", FRAMES)
    (tmp_path / name).write_text(content)
    with pytest.raises(UnreadableVideoError, match=name):
        list(VideoFile(tmp_path / name).frames())
