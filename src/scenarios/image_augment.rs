//! A JPEG, rotated, flipped, zoomed and cropped.
//!
//! Article 000's motivation, which gives no seconds: in a competition on satellite pictures "data augmentation
//! was my biggest bottleneck. The methods I used, rotations, flips, zooms and crops, relied on Numpy and ran on
//! the CPU". That competition's JPEGs were of 256 x 256 pixels, and so are these, drawn from a seed and decoded
//! from memory; 224 x 224 is what many a network takes. 5,000 tasks, or 64, over 32 different pictures.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, ensure};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;

use crate::array::Array;
use crate::fixtures::photo::photo;
use crate::fixtures::text::splitmix;
use crate::workload::{Inputs, Size, Workload};

const SIDE: usize = 256;
const CROP: usize = 224;
/// About 17 KB a picture, with colour at half the resolution as cameras do.
const QUALITY: u8 = 88;
/// Pixels of the answer that are returned, in rows and columns: inside at every angle.
const PROBES: [usize; 4] = [28, 84, 140, 196];
/// Largest difference of a pixel to the slow computation, out of 255: two roundings, two weights of eight bits.
const TOLERANCE: f64 = 3.0;

pub(super) struct ImageAugment;

#[derive(Serialize, Deserialize)]
pub(super) struct Shot {
    /// Which picture: those of one number have the same.
    photo: u64,
    jpeg: Array<u8>,
    change: Change,
}

/// What is done to a picture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Change {
    /// Counter-clockwise, degrees.
    angle: f64,
    /// Whether left and right change places.
    flip: bool,
    /// Around the centre, from which the crop is taken too; 1 or more.
    zoom: f64,
}

/// What is left of a picture that went to the next step.
#[derive(Serialize, Deserialize)]
pub(super) struct Digest {
    /// Of all pixels, by colour.
    sums: [u64; 3],
    /// The pixels at `PROBES`, row by row.
    probes: Vec<[u8; 3]>,
}

impl Workload for ImageAugment {
    const NAME: &'static str = "image_augment";
    const WORKERS: &'static [usize] = &[1, 2, 4, 8];
    type Input = Shot;
    type Output = Digest;
    type Worker = ();

    fn prepare(size: Size) -> Result<Inputs<Shot>> {
        let photos = size.pick(2, 32, 32);
        let jpegs = (0..photos).map(|seed| Ok(encode(&photo(seed, SIDE, SIDE))?.into()));
        let jpegs = jpegs.collect::<Result<Vec<Array<u8>>>>()?;
        let shot = |task| {
            let photo = task % photos;
            Shot { photo, jpeg: jpegs[photo as usize].clone(), change: Change::random(task) }
        };
        Ok(Inputs::new((0..size.pick(4, 64, 5_000)).map(shot).collect()))
    }

    fn run(_: &mut (), Shot { jpeg, change, .. }: &Shot) -> Result<Digest> {
        let mut picture = decode(jpeg)?.rotated(change.angle);
        if change.flip {
            picture.flip();
        }
        Ok(picture.zoomed(change.zoom, CROP).digest())
    }

    /// Probes of every task, and every pixel of the first, against a computation that has nothing in
    /// common with the task but the decoder; that is held against the drawn picture by a test.
    fn check(shots: &[Shot], digests: &[Digest]) -> Result<()> {
        let mut pictures = HashMap::new();
        for (task, (Shot { photo, jpeg, change }, digest)) in shots.iter().zip(digests).enumerate() {
            if !pictures.contains_key(photo) {
                pictures.insert(*photo, decode(jpeg)?);
            }
            let truth = |x, y| change.pixel(&pictures[photo], x, y);
            ensure!(digest.probes.len() == PROBES.len().pow(2), "task {task} returned other probes");
            for ((x, y), found) in probed().zip(&digest.probes) {
                let expected = truth(x, y);
                let near = expected.iter().zip(found).all(|(a, b)| (a - f64::from(*b)).abs() <= TOLERANCE);
                ensure!(near, "task {task}, {change:?}: pixel {x}, {y} is {found:?}, not {expected:.1?}");
            }
            if task == 0 {
                let mut expected = [0.0; 3];
                for colours in (0..CROP * CROP).map(|at| truth(at % CROP, at / CROP)) {
                    expected.iter_mut().zip(colours).for_each(|(sum, colour)| *sum += colour);
                }
                for (expected, found) in expected.iter().zip(digest.sums) {
                    let [expected, found] = [*expected, found as f64].map(|sum| sum / (CROP * CROP) as f64);
                    let near = (found - expected).abs() <= TOLERANCE / 6.0;
                    ensure!(near, "task {task}, {change:?}: the mean is {found:.2}, not {expected:.2}");
                }
            }
        }
        Ok(())
    }
}

fn probed() -> impl Iterator<Item = (usize, usize)> {
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
    let pixels = JpegDecoder::new(ZCursor::new(jpeg)).decode();
    // Its error is none of the standard library's unless all of its formats are there.
    let pixels = pixels.map_err(|error| anyhow!("cannot decode a picture: {error:?}"))?;
    let bytes = pixels.len();
    ensure!(bytes == SIDE * SIDE * 3, "a picture of {bytes} bytes is not one of {SIDE} x {SIDE} pixels");
    Ok(Picture { side: SIDE, pixels: pixels.as_chunks().0.to_vec() })
}

/// A square picture, row by row.
struct Picture {
    side: usize,
    pixels: Vec<[u8; 3]>,
}

/// Lengths of pixels in fixed point, 16 bits behind the point: exact enough for a thousand of them in a row.
const ONE: f64 = 65536.0;

impl Picture {
    /// Turned around its centre; what comes from outside is black.
    fn rotated(&self, degrees: f64) -> Picture {
        let (sin, cos) = degrees.to_radians().sin_cos();
        self.sampled(self.side, [cos, sin], [-sin, cos])
    }

    /// The centre of it, `side` pixels wide after it was enlarged.
    fn zoomed(&self, zoom: f64, side: usize) -> Picture {
        self.sampled(side, [1.0 / zoom, 0.0], [0.0, 1.0 / zoom])
    }

    fn flip(&mut self) {
        self.pixels.chunks_exact_mut(self.side).for_each(<[_]>::reverse);
    }

    /// A picture whose pixels lie where the map of the plane around the centre says, found by bilinear
    /// interpolation. A step to the right in it is `right` in this one, a step down is `down`.
    fn sampled(&self, side: usize, right: [f64; 2], down: [f64; 2]) -> Picture {
        let fixed = |length: f64| (length * ONE).round() as i32;
        let inside = 0..(self.side as i32) << 16;
        let [step_x, step_y] = right.map(fixed);
        let mut pixels = Vec::with_capacity(side * side);
        for row in 0..side {
            let from_centre = |at: usize| at as f64 + 0.5 - side as f64 / 2.0;
            let start = |axis: usize| from_centre(0) * right[axis] + from_centre(row) * down[axis];
            let [mut x, mut y] = [0, 1].map(|axis| fixed(self.side as f64 / 2.0 + start(axis)));
            for _ in 0..side {
                let here = inside.contains(&x) && inside.contains(&y);
                pixels.push(if here { self.between(x, y) } else { [0; 3] });
                x += step_x;
                y += step_y;
            }
        }
        Picture { side, pixels }
    }

    /// The colour at a place inside the picture: of the four pixels whose centres are around it.
    #[inline]
    fn between(&self, x: i32, y: i32) -> [u8; 3] {
        let last = self.side - 1;
        // The first pixel's centre is at one half; before it is nothing to mix with, nor behind the last one's.
        let pair = |at: i32| {
            let at = ((at - (1 << 15)).max(0) as usize).min(last << 16);
            let first = (at >> 16).min(last - 1);
            (first, ((at - (first << 16)) >> 8) as u32)
        };
        let ((left, share_x), (above, share_y)) = (pair(x), pair(y));
        // Both pixels of a line with one check of bounds.
        let line = |row: usize| {
            self.pixels[row * self.side + left..]
                .first_chunk::<2>()
                .expect("the last pair is on the last line")
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
        Digest { sums, probes: probed().map(|(x, y)| self.pixels[y * self.side + x]).collect() }
    }
}

impl Change {
    fn random(mut seed: u64) -> Change {
        let mut random = || (splitmix(&mut seed) >> 11) as f64 / (1u64 << 53) as f64;
        Change { angle: 40.0 * random() - 20.0, flip: random() < 0.5, zoom: 1.0 + 0.4 * random() }
    }

    /// One pixel of the changed picture, the steps gone backwards from it with all digits.
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
        let place = |at: usize| (at as f64 + 0.5 - CROP as f64 / 2.0) / self.zoom + SIDE as f64 / 2.0;
        bilinear(flipped, [place(x), place(y)])
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

    fn shot(task: u64, change: Change) -> Shot {
        Shot { photo: task, jpeg: encode(&photo(task, SIDE, SIDE)).unwrap().into(), change }
    }

    #[test]
    fn the_decoded_picture_is_the_drawn_one_but_for_the_loss() {
        let drawn = photo(1, SIDE, SIDE);
        let jpeg = encode(&drawn).unwrap();
        assert!((8_000..40_000).contains(&jpeg.len()), "{} bytes", jpeg.len());
        let decoded = decode(&jpeg).unwrap().pixels;
        let pairs = decoded.as_flattened().iter().zip(drawn.as_flattened());
        let loss: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let loss = loss as f64 / (SIDE * SIDE * 3) as f64;
        assert!(loss < 6.0, "a mean loss of {loss}");
        assert!(decode(&jpeg[..100]).is_err() && decode(b"GIF89a").is_err());
    }

    #[test]
    fn every_pixel_is_that_of_the_slow_computation() {
        for (angle, flip, zoom) in [(0.0, false, 1.0), (20.0, true, 1.3), (-13.7, false, 1.1)] {
            let shot = shot(3, Change { angle, flip, zoom });
            let picture = decode(&shot.jpeg).unwrap();
            let mut changed = picture.rotated(angle);
            if flip {
                changed.flip();
            }
            let changed = changed.zoomed(zoom, CROP);
            let mut far = 0;
            for (at, found) in changed.pixels.iter().enumerate() {
                let expected = shot.change.pixel(&picture, at % CROP, at / CROP);
                let near = expected.iter().zip(found).all(|(a, b)| (a - f64::from(*b)).abs() <= TOLERANCE);
                far += usize::from(!near);
            }
            // At the border of the picture a rounding decides between a colour and black.
            assert!(far <= 5, "{far} pixels differ at {:?}", shot.change);
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
    fn the_answer_of_another_picture_or_change_is_refused() {
        let shots = [0, 1, 2].map(|task| shot(task, Change::random(task)));
        let run = |shot: &Shot| ImageAugment::run(&mut (), shot).unwrap();
        ImageAugment::check(&shots, &shots.each_ref().map(run)).unwrap();
        let mut swapped = shots.each_ref().map(run);
        swapped.swap(0, 1);
        assert!(ImageAugment::check(&shots, &swapped).is_err());
        let change = shots[1].change;
        for wrong in [
            Change { flip: !change.flip, ..change },
            Change { angle: -change.angle, ..change },
            Change { zoom: change.zoom + 0.05, ..change },
        ] {
            let mut digests = shots.each_ref().map(run);
            digests[1] = run(&shot(1, wrong));
            let error = ImageAugment::check(&shots, &digests).unwrap_err().to_string();
            assert!(error.starts_with("task 1, Change"), "{error}");
        }
        let mut digests = shots.each_ref().map(run);
        digests[0].sums[1] += (CROP * CROP) as u64;
        assert!(ImageAugment::check(&shots, &digests).unwrap_err().to_string().contains("the mean is"));
    }
}
