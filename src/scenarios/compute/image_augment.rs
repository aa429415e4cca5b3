//! A JPEG, rotated, flipped, zoomed and cropped.
//!
//! Article 000's motivation, which gives no seconds: in a competition on satellite pictures, "data augmentation was my
//! biggest bottleneck. The methods I used, rotations, flips, zooms and crops, relied on Numpy and ran on the CPU".
//! That competition's JPEGs had 256 x 256 pixels, and so have these, which are generated from a seed and decoded from
//! memory. The result has 224 x 224 pixels, the input size of many networks. There are 5,000 tasks, or 32, over 32
//! different pictures.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::data::array::Array;
use crate::fixtures::photo::photo;
use crate::random::splitmix;
use crate::workload::{Inputs, Size, Workload};

const SIDE: usize = 256;
const CROP: usize = 224;
/// About 17 KB a picture, with colour at half the resolution, as in cameras.
const QUALITY: u8 = 88;
/// Rows and columns of the result whose pixels are returned: inside the picture at every angle.
const PROBES: [usize; 4] = [28, 84, 140, 196];
/// Largest accepted difference from the slow computation, out of 255: two roundings, two weights of eight bits.
const TOLERANCE: f64 = 3.0;

pub(super) struct ImageAugment;

#[derive(Serialize, Deserialize)]
pub(super) struct Augmentation {
    /// The number of the picture: tasks with the same number have the same picture.
    photo: u64,
    jpeg: Array<u8>,
    transform: Transform,
}

/// How a picture is rotated, flipped and zoomed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Transform {
    /// Counter-clockwise, in degrees.
    angle: f64,
    /// Whether left and right are swapped.
    flip: bool,
    /// At least 1; around the centre, as is the crop.
    zoom: f64,
}

/// A digest of the result, instead of the result itself, which a program would pass on to its next step.
#[derive(Serialize, Deserialize)]
pub(super) struct Digest {
    /// The sum of all pixels, by colour.
    sums: [u64; 3],
    /// The pixels at `PROBES`, row by row.
    probes: Vec<[u8; 3]>,
}

impl Workload for ImageAugment {
    const NAME: &'static str = "image_augment";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    type Input = Augmentation;
    type Output = Digest;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Augmentation>> {
        let photos = size.pick(2, 32, 32);
        let jpegs = (0..photos).map(|seed| Ok(encode(&photo(seed, SIDE, SIDE))?.into()));
        let jpegs = jpegs.collect::<Result<Vec<Array<u8>>>>()?;
        let input = |task| {
            let photo = task % photos;
            Augmentation { photo, jpeg: jpegs[photo as usize].clone(), transform: Transform::random(task) }
        };
        Ok(Inputs::new((0..size.pick(4, 32, 5_000)).map(input).collect()))
    }

    fn run(_: &mut (), Augmentation { jpeg, transform, .. }: &Augmentation) -> Result<Digest> {
        let mut picture = decode(jpeg)?.rotated(transform.angle);
        if transform.flip {
            picture.flip();
        }
        Ok(picture.zoomed(transform.zoom, CROP).digest())
    }

    /// Compares the probes of every task, and the mean of all its pixels, with a computation that shares only the decoder
    /// with the task. A test compares the decoder's output with the generated picture. The means are computed once: they
    /// take as long as the tasks.
    fn check(inputs: &[Augmentation], digests: &[Digest]) -> Result<()> {
        let mut means = MEANS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pictures = HashMap::new();
        for (task, (input, digest)) in inputs.iter().zip(digests).enumerate() {
            let Augmentation { photo, jpeg, transform } = input;
            if !pictures.contains_key(photo) {
                pictures.insert(*photo, decode(jpeg)?);
            }
            let exact = |x, y| transform.pixel(&pictures[photo], x, y);
            ensure!(
                digest.probes.len() == PROBES.len().pow(2),
                "task {task} returned {} probes",
                digest.probes.len()
            );
            for ((x, y), found) in probe_positions().zip(&digest.probes) {
                let expected = exact(x, y);
                let near = expected.iter().zip(found).all(|(a, b)| (a - f64::from(*b)).abs() <= TOLERANCE);
                ensure!(near, "task {task}, {transform:?}: pixel {x}, {y} is {found:?}, not {expected:.1?}");
            }
            let mean = || {
                let mut sums = [0.0; 3];
                for colours in (0..CROP * CROP).map(|at| exact(at % CROP, at / CROP)) {
                    sums.iter_mut().zip(colours).for_each(|(sum, colour)| *sum += colour);
                }
                sums.map(|sum| sum / (CROP * CROP) as f64)
            };
            let expected = *means.entry((*photo, transform.bits())).or_insert_with(mean);
            for (expected, sum) in expected.iter().zip(digest.sums) {
                let found = sum as f64 / (CROP * CROP) as f64;
                let near = (found - expected).abs() <= TOLERANCE / 6.0;
                ensure!(near, "task {task}, {transform:?}: the mean is {found:.2}, not {expected:.2}");
            }
        }
        Ok(())
    }
}

/// The mean of all pixels of the results that have been checked before, by colour: by picture and transform.
static MEANS: LazyLock<Mutex<HashMap<Key, [f64; 3]>>> = LazyLock::new(Mutex::default);

/// A picture and a transform.
type Key = (u64, [u64; 3]);

fn probe_positions() -> impl Iterator<Item = (usize, usize)> {
    PROBES.into_iter().flat_map(|y| PROBES.into_iter().map(move |x| (x, y)))
}

fn encode(pixels: &[[u8; 3]]) -> Result<Vec<u8>> {
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    let encoded = encoder.encode(pixels.as_flattened(), SIDE as u16, SIDE as u16, ColorType::Rgb);
    encoded.context("cannot encode a picture")?;
    Ok(jpeg)
}

fn decode(jpeg: &[u8]) -> Result<Picture> {
    // By default, the decoder makes up what is missing of a picture that was cut short.
    ensure!(jpeg.ends_with(&[0xff, 0xd9]), "a picture of {} bytes was cut short", jpeg.len());
    let options = DecoderOptions::default().set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().context("cannot decode a picture")?;
    let (width, height) = decoder.dimensions().context("a picture without a size")?;
    ensure!(
        (width, height) == (SIDE, SIDE) && pixels.len() == SIDE * SIDE * 3,
        "a picture of {width} x {height} pixels, {} bytes, is not one of {SIDE} x {SIDE} in colour",
        pixels.len()
    );
    Ok(Picture { side: SIDE, pixels: pixels.as_chunks().0.to_vec() })
}

/// A square picture; its pixels row by row.
struct Picture {
    side: usize,
    pixels: Vec<[u8; 3]>,
}

/// The fixed-point unit: 16 fractional bits, exact enough for a thousand steps in a row.
const FIXED_ONE: f64 = 65536.0;

impl Picture {
    /// Returns the picture rotated around its centre; pixels from outside the picture are black.
    fn rotated(&self, degrees: f64) -> Picture {
        let (sin, cos) = degrees.to_radians().sin_cos();
        self.sampled(self.side, [cos, sin], [-sin, cos])
    }

    /// Returns the centre of the enlarged picture, `side` pixels wide.
    fn zoomed(&self, zoom: f64, side: usize) -> Picture {
        self.sampled(side, [1.0 / zoom, 0.0], [0.0, 1.0 / zoom])
    }

    fn flip(&mut self) {
        self.pixels.chunks_exact_mut(self.side).for_each(<[_]>::reverse);
    }

    /// Returns a picture of this picture's pixels under a linear map around the centre, by bilinear interpolation. A
    /// step to the right in the result is a step `right` in this picture; a step down is `down`.
    fn sampled(&self, side: usize, right: [f64; 2], down: [f64; 2]) -> Picture {
        let fixed = |length: f64| (length * FIXED_ONE).round() as i32;
        let inside = 0..(self.side as i32) << 16;
        let [step_x, step_y] = right.map(fixed);
        let mut pixels = Vec::with_capacity(side * side);
        for row in 0..side {
            let from_centre = |at: usize| at as f64 + 0.5 - side as f64 / 2.0;
            let start = |axis: usize| from_centre(0) * right[axis] + from_centre(row) * down[axis];
            let [mut x, mut y] = [0, 1].map(|axis| fixed(self.side as f64 / 2.0 + start(axis)));
            for _ in 0..side {
                let is_inside = inside.contains(&x) && inside.contains(&y);
                pixels.push(if is_inside { self.interpolated(x, y) } else { [0; 3] });
                x += step_x;
                y += step_y;
            }
        }
        Picture { side, pixels }
    }

    /// Returns the colour at a point inside the picture, from the four pixels whose centres surround it.
    #[inline]
    fn interpolated(&self, x: i32, y: i32) -> [u8; 3] {
        let last = self.side - 1;
        // The first pixel's centre is at one half. Before it, as after the last centre, there is nothing to mix.
        let pair = |at: i32| {
            let at = ((at - (1 << 15)).max(0) as usize).min(last << 16);
            let first = (at >> 16).min(last - 1);
            (first, ((at - (first << 16)) >> 8) as u32)
        };
        let ((left, share_x), (above, share_y)) = (pair(x), pair(y));
        // Both pixels of a line with one bounds check.
        let line = |row: usize| {
            self.pixels[row * self.side + left..].first_chunk::<2>().expect("every pair lies within its line")
        };
        let ([a, b], [c, d]) = (line(above), line(above + 1));
        std::array::from_fn(|at| {
            let mix = |a: u8, b: u8| u32::from(a) * (256 - share_x) + u32::from(b) * share_x;
            ((mix(a[at], b[at]) * (256 - share_y) + mix(c[at], d[at]) * share_y + (1 << 15)) >> 16) as u8
        })
    }

    fn digest(&self) -> Digest {
        let mut sums = [0; 3];
        for pixel in &self.pixels {
            sums.iter_mut().zip(pixel).for_each(|(sum, colour)| *sum += u64::from(*colour));
        }
        Digest { sums, probes: probe_positions().map(|(x, y)| self.pixels[y * self.side + x]).collect() }
    }
}

impl Transform {
    /// What tells it from all others.
    fn bits(&self) -> [u64; 3] {
        [self.angle.to_bits(), u64::from(self.flip), self.zoom.to_bits()]
    }

    fn random(mut seed: u64) -> Transform {
        let mut random = || (splitmix(&mut seed) >> 11) as f64 / (1u64 << 53) as f64;
        Transform { angle: 40.0 * random() - 20.0, flip: random() < 0.5, zoom: 1.0 + 0.4 * random() }
    }

    /// Computes one pixel of the result in full precision, by undoing the steps in reverse order.
    fn pixel(&self, picture: &Picture, x: usize, y: usize) -> [f64; 3] {
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let rotated = |x: usize, y: usize| {
            let half = SIDE as f64 / 2.0;
            let (x, y) = (x as f64 + 0.5 - half, y as f64 + 0.5 - half);
            let from = [half + cos * x - sin * y, half + sin * x + cos * y];
            let inside = from.iter().all(|at| (0.0..SIDE as f64).contains(at));
            let pixel = |x: usize, y: usize| picture.pixels[y * SIDE + x].map(f64::from);
            if inside { bilinear(pixel, from) } else { [0.0; 3] }
        };
        let flipped = |x, y| rotated(if self.flip { SIDE - 1 - x } else { x }, y);
        let coordinate = |at: usize| (at as f64 + 0.5 - CROP as f64 / 2.0) / self.zoom + SIDE as f64 / 2.0;
        bilinear(flipped, [coordinate(x), coordinate(y)])
    }
}

fn bilinear(pixel: impl Fn(usize, usize) -> [f64; 3], at: [f64; 2]) -> [f64; 3] {
    let mut sum = [0.0; 3];
    let [[(left, a), (right, b)], [(above, c), (below, d)]] = at.map(|at| {
        let (floor, share) = ((at - 0.5).floor(), (at - 0.5).rem_euclid(1.0));
        [(floor, 1.0 - share), (floor + 1.0, share)]
    });
    for (x, y, weight) in
        [(left, above, a * c), (right, above, b * c), (left, below, a * d), (right, below, b * d)]
    {
        let within = |at: f64| at.clamp(0.0, SIDE as f64 - 1.0) as usize;
        let colours = pixel(within(x), within(y));
        sum.iter_mut().zip(colours).for_each(|(sum, colour)| *sum += weight * colour);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn augmentation(task: u64, transform: Transform) -> Augmentation {
        Augmentation { photo: task, jpeg: encode(&photo(task, SIDE, SIDE)).unwrap().into(), transform }
    }

    #[test]
    fn decoding_returns_the_drawn_picture_with_a_small_loss() {
        let drawn = photo(1, SIDE, SIDE);
        let jpeg = encode(&drawn).unwrap();
        assert!((8_000..40_000).contains(&jpeg.len()), "{} bytes", jpeg.len());
        let decoded = decode(&jpeg).unwrap().pixels;
        let pairs = decoded.as_flattened().iter().zip(drawn.as_flattened());
        let loss: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let loss = loss as f64 / (SIDE * SIDE * 3) as f64;
        assert!(loss < 6.0, "a mean loss of {loss}");
        // Cut short anywhere.
        for length in [0, 100, 1_000, jpeg.len() / 2, jpeg.len() - 3, jpeg.len() - 1] {
            assert!(decode(&jpeg[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(b"GIF89a").is_err());
        // Another picture of as many bytes.
        let mut wide = Vec::new();
        let encoder = Encoder::new(&mut wide, QUALITY);
        encoder.encode(drawn.as_flattened(), 2 * SIDE as u16, SIDE as u16 / 2, ColorType::Rgb).unwrap();
        let error = decode(&wide).err().unwrap().to_string();
        assert!(error.starts_with("a picture of 512 x 128 pixels"), "{error}");
    }

    #[test]
    fn every_pixel_agrees_with_the_slow_computation() {
        for (angle, flip, zoom) in [(0.0, false, 1.0), (20.0, true, 1.3), (-13.7, false, 1.1)] {
            let input = augmentation(3, Transform { angle, flip, zoom });
            let picture = decode(&input.jpeg).unwrap();
            let mut found = picture.rotated(angle);
            if flip {
                found.flip();
            }
            let found = found.zoomed(zoom, CROP);
            let mut far = 0;
            for (at, found) in found.pixels.iter().enumerate() {
                let expected = input.transform.pixel(&picture, at % CROP, at / CROP);
                let near = expected.iter().zip(found).all(|(a, b)| (a - f64::from(*b)).abs() <= TOLERANCE);
                far += usize::from(!near);
            }
            // At the border of the picture, rounding decides between a colour and black.
            assert!(far <= 5, "{far} pixels differ at {:?}", input.transform);
        }
    }

    #[test]
    fn a_quarter_turn_is_counter_clockwise() {
        let picture = Picture { side: 2, pixels: vec![[1; 3], [2; 3], [3; 3], [4; 3]] };
        assert_eq!(picture.rotated(90.0).pixels, [[2; 3], [4; 3], [1; 3], [3; 3]]);
        assert_eq!(picture.rotated(45.0).side, 2);
        let far = Picture { side: 8, pixels: vec![[9; 3]; 64] }.rotated(45.0).pixels;
        assert_eq!((far[0], far[3]), ([0; 3], [9; 3]), "outside is black");
    }

    #[test]
    fn the_answer_of_another_picture_or_transform_is_refused() {
        let inputs = [0, 1, 2].map(|task| augmentation(task, Transform::random(task)));
        let run = |input: &Augmentation| ImageAugment::run(&mut (), input).unwrap();
        ImageAugment::check(&inputs, &inputs.each_ref().map(run)).unwrap();
        let mut swapped = inputs.each_ref().map(run);
        swapped.swap(0, 1);
        assert!(ImageAugment::check(&inputs, &swapped).is_err());
        let transform = inputs[1].transform;
        for wrong in [
            Transform { flip: !transform.flip, ..transform },
            Transform { angle: -transform.angle, ..transform },
            Transform { zoom: transform.zoom + 0.05, ..transform },
        ] {
            let mut digests = inputs.each_ref().map(run);
            digests[1] = run(&augmentation(1, wrong));
            let error = ImageAugment::check(&inputs, &digests).unwrap_err().to_string();
            assert!(error.starts_with("task 1, Transform"), "{error}");
        }
        let mut digests = inputs.each_ref().map(run);
        digests[0].sums[1] += (CROP * CROP) as u64;
        assert!(ImageAugment::check(&inputs, &digests).unwrap_err().to_string().contains("the mean is"));
    }
}
