//! Numbers as people read them: three significant digits and a unit, which no line break parts.

/// A time such as `1.60 s`, `31.0 ms` or `2.41 µs`.
pub(crate) fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns >= 0.9995e9 => (ns / 1e9, "s"),
        ns if ns >= 0.9995e6 => (ns / 1e6, "ms"),
        ns if ns >= 0.9995e3 => (ns / 1e3, "µs"),
        ns => (ns, "ns"),
    };
    format!("{}\u{a0}{unit}", digits(value))
}

/// A ratio such as `3.97x`.
pub(crate) fn ratio(ratio: f64) -> String {
    format!("{}x", digits(ratio))
}

/// A share such as `3.1 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.abs() < 9.95 { format!("{percent:.1}\u{a0}%") } else { format!("{percent:.0}\u{a0}%") }
}

/// A change such as `+3.1 %`.
pub(crate) fn signed_percent(share: f64) -> String {
    let sign = if share < 0.0 { "" } else { "+" };
    format!("{sign}{}", percent(share))
}

/// A number of bytes such as `80.0 MB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let (value, unit) = match bytes {
        bytes if bytes >= 0.9995e9 => (bytes / 1e9, "GB"),
        bytes if bytes >= 0.9995e6 => (bytes / 1e6, "MB"),
        bytes if bytes >= 0.9995e3 => (bytes / 1e3, "kB"),
        bytes => (bytes, "B"),
    };
    format!("{}\u{a0}{unit}", digits(value))
}

/// A large number such as `2.00 M`.
pub(crate) fn count(number: f64) -> String {
    match number {
        number if number >= 0.9995e9 => format!("{} G", digits(number / 1e9)),
        number if number >= 0.9995e6 => format!("{} M", digits(number / 1e6)),
        number if number >= 0.9995e3 => format!("{} k", digits(number / 1e3)),
        number => digits(number),
    }
}

/// Three significant digits; two below a tenth, where the first zeros are long enough.
fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0.00".into(),
        abs if abs < 0.0995 => {
            let decimals = (1.0 - abs.log10().floor()).min(6.0) as usize;
            format!("{value:.decimals$}")
        }
        abs if abs < 9.995 => format!("{value:.2}"),
        abs if abs < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(duration(1.6e9), "1.60\u{a0}s");
        assert_eq!(duration(31_049_000.0), "31.0\u{a0}ms");
        assert_eq!(duration(999_600.0), "1.00\u{a0}ms");
        assert_eq!(duration(2_414.0), "2.41\u{a0}µs");
        assert_eq!(duration(7.0), "7.00\u{a0}ns");
        assert_eq!(
            (ratio(3.974), ratio(0.035), ratio(123.4)),
            ("3.97x".into(), "0.035x".into(), "123x".into())
        );
        assert_eq!(
            (ratio(0.00123), ratio(0.0), ratio(-0.035), ratio(1e-9)),
            ("0.0012x".into(), "0.00x".into(), "-0.035x".into(), "0.000000x".into())
        );
        assert_eq!((percent(0.0312), percent(0.5)), ("3.1\u{a0}%".into(), "50\u{a0}%".into()));
        assert_eq!(
            (signed_percent(0.0312), signed_percent(-0.5)),
            ("+3.1\u{a0}%".into(), "-50\u{a0}%".into())
        );
        assert_eq!((bytes(8e7), bytes(512.0)), ("80.0\u{a0}MB".into(), "512\u{a0}B".into()));
    }
}
