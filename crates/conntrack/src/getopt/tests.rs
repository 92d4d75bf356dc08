use super::*;
use proptest::prelude::*;

const SHORTS: [Short<char>; 4] = [
    Short {
        letter: 'L',
        arity: Arity::Optional,
        id: 'L',
    },
    Short {
        letter: 's',
        arity: Arity::Required,
        id: 's',
    },
    Short {
        letter: 'n',
        arity: Arity::Optional,
        id: 'n',
    },
    Short {
        letter: 'z',
        arity: Arity::None,
        id: 'z',
    },
];

const fn long(name: &'static str, arity: Arity, id: char) -> Long<char> {
    Long {
        name,
        arity,
        id,
        is_extension: false,
    }
}

const LONGS: [Long<char>; 8] = [
    long("dump", Arity::Optional, 'L'),
    long("src", Arity::Required, 's'),
    long("orig-src", Arity::Required, 's'),
    long("orig-dst", Arity::Required, 'd'),
    long("src-nat", Arity::Optional, 'n'),
    long("nat-range", Arity::Required, 'a'),
    long("zero", Arity::None, 'z'),
    Long {
        name: "netns",
        arity: Arity::Required,
        id: 'N',
        is_extension: true,
    },
];

/// Words (the program's name added) into what they mean, in a form that is easy to compare.
fn read(words: &[&str]) -> Vec<String> {
    let words = std::iter::once("prog").chain(words.iter().copied());
    let mut getopt = Getopt::new(words.map(str::to_owned).collect());
    let mut told = Vec::new();
    loop {
        told.push(match getopt.next(&SHORTS, &LONGS) {
            Step::Option(id @ ('L' | 'n'), None) => match getopt.optional_word() {
                Some(word) => format!("{id} then {word}"),
                None => id.to_string(),
            },
            Step::Option(id, None) => id.to_string(),
            Step::Option(id, Some(arg)) => format!("{id}={arg}"),
            Step::MissingArgument(word) => format!("missing {word}"),
            Step::Unknown(word) => format!("unknown {word}"),
            Step::End => return told,
        });
        if told
            .last()
            .is_some_and(|last| last.contains(' ') && !last.contains("then"))
        {
            return told;
        }
    }
}

#[test]
fn options_may_follow_words() {
    assert_eq!(read(&["foo", "-z", "bar", "-s", "1"]), ["z", "s=1"]);
    assert_eq!(read(&["-", "-z"]), ["z"]);
}

#[test]
fn nothing_behind_two_dashes_is_an_option() {
    assert_eq!(read(&["-z", "--", "-z"]), ["z"]);
    assert_eq!(read(&["foo", "--", "-z"]), [""; 0]);
}

#[test]
fn short_options_may_be_glued() {
    assert_eq!(read(&["-zzs1"]), ["z", "z", "s=1"]);
    assert_eq!(read(&["-zs", "1"]), ["z", "s=1"]);
    assert_eq!(read(&["-n1"]), ["n=1"]);
}

#[test]
fn optional_words_are_separate_and_no_options() {
    assert_eq!(read(&["-L", "expect", "-z"]), ["L then expect", "z"]);
    assert_eq!(read(&["foo", "-L", "expect", "-z"]), ["L then expect", "z"]);
    assert_eq!(read(&["-L", "-z"]), ["L", "z"]);
    assert_eq!(read(&["-n", "!1"]), ["n"]);
    assert_eq!(read(&["--src-nat", "1"]), ["n then 1"]);
    assert_eq!(read(&["-L", ""]), ["L then "]);
}

#[test]
fn long_options_may_be_abbreviated_while_unique() {
    assert_eq!(read(&["--zer"]), ["z"]);
    assert_eq!(read(&["--src-"]), ["n"]);
    assert_eq!(read(&["--sr", "1"]), ["unknown --sr"]);
    assert_eq!(read(&["--src", "1"]), ["s=1"]);
    assert_eq!(read(&["--orig-s=1"]), ["s=1"]);
    assert_eq!(read(&["--orig-", "1"]), ["unknown --orig-"]);
}

#[test]
fn extensions_do_not_make_old_abbreviations_ambiguous() {
    assert_eq!(read(&["--n", "1"]), ["a=1"]);
    assert_eq!(read(&["--ne", "1"]), ["N=1"]);
}

#[test]
fn errors_blame_the_word_that_the_c_library_points_at() {
    assert_eq!(read(&["-L", "-s"]), ["L", "missing -s"]);
    assert_eq!(read(&["--src"]), ["missing --src"]);
    assert_eq!(read(&["--zero=1"]), ["unknown --zero=1"]);
    assert_eq!(read(&["-zx"]), ["z", "unknown -zx"]);
    assert_eq!(read(&["-L", "-xs"]), ["L", "unknown -L"]);
    assert_eq!(read(&["-xs"]), ["unknown prog"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No words make it loop or panic, and every step consumes something.
    #[test]
    fn any_words_come_to_an_end(words in proptest::collection::vec("(-{0,3}[Lsnzxé=]{0,4}(src|zero)?)", 0..8)) {
        let count: usize = words.iter().map(|word| word.len() + 1).sum();
        let all = std::iter::once("prog".to_owned()).chain(words).collect();
        let mut getopt = Getopt::new(all);
        for _ in 0..=count {
            match getopt.next(&SHORTS, &LONGS) {
                Step::End => return Ok(()),
                Step::Option('L' | 'n', None) => { getopt.optional_word(); }
                _ => {}
            }
        }
        prop_assert!(false, "more steps than letters");
    }
}
