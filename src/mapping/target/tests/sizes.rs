//! Templates as long as they may be, which need a level of the stack for each operator.

use super::*;

/// What a worker thread has.
const STACK: usize = 2 << 20;

/// What is found wrong with a target whose body has this expression.
fn found(expression: &str) -> String {
    let text = small(&format!("body: {{n: '{{{{ {} }}}}'}}", expression.replace('\'', "''")));
    let check = move || try_target(&text).err().unwrap_or_default();
    std::thread::Builder::new().stack_size(STACK).spawn(check).unwrap().join().unwrap()
}

#[test]
fn longest_expressions_need_little_stack() {
    // Begin, repeated part, middle, repeated part, end; and the names and signs of the repeated parts.
    for (begin, before, middle, after, parts_of_one) in [
        ("", "not ", "true", "", 1),
        ("", "-", "1", "", 1),
        ("", "(", "1", ")", 2),
        ("", "[", "1", "]", 2),
        ("", "{'a': ", "1", "}", 3),
        ("", "1 if true else ", "1", "", 3),
        ("", "1 if (", "true", ") else 1", 4),
        ("", "2 ** ", "1", "", 1),
        ("", "[1] | first | default(", "1", ")", 8),
        ("vars.m", "", "", ".b", 2),
        ("vars.m", "", "", "['b']", 2),
        ("[1]", "", "", "[0:]", 3),
        ("1", "", "", " + 1", 1),
        ("1", "", "", " - 1", 1),
        ("1", "", "", " * 1", 1),
        ("1", "", "", " // 1", 1),
        ("'a'", "", "", " ~ 'a'", 1),
        ("true", "", "", " and true", 2),
        ("true", "", "", " or true", 2),
        ("1", "", "", " == 1", 1),
        ("1", "", "", " in [1]", 3),
        ("1", "", "", " is odd", 2),
        ("1", "", "", " is not odd", 3),
        ("pod.name", "", "", "|upper", 2),
        ("[1]", "", "", "|map('int')", 4),
        ("[1]", "", "", "|reverse", 2),
        ("dict(a=1)", "", "", "|items", 2),
    ] {
        let text = |parts: usize| format!("{begin}{}{middle}{}", before.repeat(parts), after.repeat(parts));
        let fits = found(&text(190 / parts_of_one));
        assert!(!fits.contains("is too long"), "{before}{after}: {fits}");
        for parts in [200 / parts_of_one + 1, 20_000] {
            let wrong = found(&text(parts));
            assert!(wrong.contains("is too long; split it, with `vars` for its parts"), "{before}{after}: {wrong}");
        }
    }
    assert_eq!(found(&format!("1 in [{}]", "1, ".repeat(1_000))), "", "a list of values is no chain");
}

#[test]
fn chains_of_variables_are_bounded() {
    let found = |variables: usize, last: usize| {
        let chain = |n: usize| format!(", v{n}: \"{{{{ vars.v{} }}}}a\"", n - 1);
        let one = |n: usize| format!(", o{n}: a");
        let all: String = (1..=last).map(chain).chain((last..variables - 1).map(one)).collect();
        let text = small(&format!("vars: {{v0: a{all}}}\nbody: {{n: \"{{{{ vars.v{last} }}}}\"}}"));
        let check = move || try_target(&text).err().unwrap_or_default();
        std::thread::Builder::new().stack_size(STACK).spawn(check).unwrap().join().unwrap()
    };
    assert_eq!(found(200, 39), "");
    assert!(found(200, 40).contains("the variable `v40` ends a chain of more than 40 variables; join some"));
    assert!(found(201, 39).contains("there are more than 200 variables; write some"));
}
