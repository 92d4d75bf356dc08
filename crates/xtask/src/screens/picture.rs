//! A terminal's text with its colours, as SVG.

/// Size of a character, in pixels.
const WIDTH: usize = 8;
/// As high as the font's full block, so that bars have no gaps.
const HEIGHT: usize = 15;
const MARGIN: usize = 12;
/// Black to white, dark and bright, of a terminal with a dark background.
const COLOURS: [&str; 16] = [
    "#1e1e2e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d0d0d8",
    "#6b7080", "#ff8a93", "#b5e890", "#ffd68a", "#8ac8ff", "#e0a0f5", "#80dce8", "#ffffff",
];
const BACKGROUND: &str = "#1e1e2e";
const FOREGROUND: &str = "#d0d0d8";

/// How a character looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<String>,
    background: Option<String>,
    is_bold: bool,
    is_dim: bool,
    is_reversed: bool,
}

/// The picture of a text that is `columns` wide; lines at its end that are empty are left out.
pub(super) fn svg(text: &str, columns: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    let width = columns * WIDTH + 2 * MARGIN;
    let height = lines.len() * HEIGHT + 2 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"DejaVu Sans Mono\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    let mut style = Style::default();
    for (row, line) in lines.iter().enumerate() {
        draw_line(line, row, &mut style, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

fn draw_line(line: &str, row: usize, style: &mut Style, out: &mut String) {
    let mut column = 0;
    let mut parts = line.split('\u{1b}');
    draw(
        parts.next().unwrap_or_default(),
        row,
        &mut column,
        style,
        out,
    );
    for part in parts {
        // Only colours come: `[1;31m`. Other sequences are not drawn.
        let (code, text) = match part.strip_prefix('[').and_then(|rest| rest.split_once('m')) {
            Some(both) => both,
            None => ("", part.get(2..).unwrap_or_default()),
        };
        if part.starts_with('[') {
            style.apply(code);
        }
        draw(text, row, &mut column, style, out);
    }
}

/// Every character in its place: a font need not be as wide as a terminal thinks.
fn draw(text: &str, row: usize, column: &mut usize, style: &Style, out: &mut String) {
    let (foreground, background) = style.colours();
    let top = MARGIN + row * HEIGHT;
    for character in text.chars().filter(|character| !character.is_control()) {
        let left = MARGIN + *column * WIDTH;
        *column += 1;
        if background != BACKGROUND {
            out.push_str(&format!("<rect x=\"{left}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"{background}\"/>\n"));
        }
        if character == ' ' {
            continue;
        }
        let weight = if style.is_bold {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let opacity = if style.is_dim { " opacity=\"0.6\"" } else { "" };
        let character = match character {
            '<' => "&lt;".to_owned(),
            '&' => "&amp;".to_owned(),
            other => other.to_string(),
        };
        let base = top + HEIGHT - 3;
        out.push_str(&format!("<text x=\"{left}\" y=\"{base}\" fill=\"{foreground}\"{weight}{opacity}>{character}</text>\n"));
    }
}

impl Style {
    fn colours(&self) -> (&str, &str) {
        let foreground = self.foreground.as_deref().unwrap_or(FOREGROUND);
        let background = self.background.as_deref().unwrap_or(BACKGROUND);
        if self.is_reversed {
            (background, foreground)
        } else {
            (foreground, background)
        }
    }

    fn apply(&mut self, codes: &str) {
        let mut codes = codes
            .split([';', ':'])
            .map(|code| code.parse::<usize>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.is_bold = true,
                2 => self.is_dim = true,
                22 => (self.is_bold, self.is_dim) = (false, false),
                7 => self.is_reversed = true,
                27 => self.is_reversed = false,
                30..=37 => self.foreground = named(code - 30),
                90..=97 => self.foreground = named(code - 90 + 8),
                39 => self.foreground = None,
                40..=47 => self.background = named(code - 40),
                100..=107 => self.background = named(code - 100 + 8),
                49 => self.background = None,
                38 => self.foreground = extended(&mut codes),
                48 => self.background = extended(&mut codes),
                _ => {}
            }
        }
    }
}

fn named(number: usize) -> Option<String> {
    COLOURS.get(number).map(|&colour| colour.to_owned())
}

/// `5;N`, a number of 256, or `2;R;G;B`.
fn extended(codes: &mut impl Iterator<Item = usize>) -> Option<String> {
    match codes.next()? {
        5 => match codes.next()? {
            number @ 0..=15 => named(number),
            number @ 16..=231 => {
                let part = |of: usize| if of == 0 { 0 } else { of * 40 + 55 };
                let number = number - 16;
                Some(rgb(
                    part(number / 36),
                    part(number / 6 % 6),
                    part(number % 6),
                ))
            }
            number => {
                let grey = (number.min(255) - 232) * 10 + 8;
                Some(rgb(grey, grey, grey))
            }
        },
        2 => Some(rgb(codes.next()?, codes.next()?, codes.next()?)),
        _ => None,
    }
}

fn rgb(red: usize, green: usize, blue: usize) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_last_until_they_are_ended_and_every_character_has_its_place() {
        let drawn = svg("a\u{1b}[1;31mb<\u{1b}[0mc\n\u{1b}[48;5;196md\n\n", 10);
        assert!(
            drawn.contains("<text x=\"12\" y=\"24\" fill=\"#d0d0d8\">a</text>"),
            "{drawn}"
        );
        assert!(
            drawn
                .contains("<text x=\"20\" y=\"24\" fill=\"#e06c75\" font-weight=\"bold\">b</text>"),
            "{drawn}"
        );
        assert!(
            drawn.contains(">&lt;</text>")
                && drawn.contains("<text x=\"36\" y=\"24\" fill=\"#d0d0d8\">c"),
            "{drawn}"
        );
        assert!(drawn.contains("fill=\"#ff0000\""), "{drawn}");
        assert!(drawn.contains("height=\"54\""), "two lines:\n{drawn}");
    }
}
