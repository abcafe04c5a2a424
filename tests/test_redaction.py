"""What is taken for a secret, and what is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracelet._redaction import (
    may_hold_secrets,
    redacted,
    redacted_arguments,
    redacted_code,
    redacted_text,
    without_logins,
)

SECRETS = [
    ("password: hunter2", "password: <redacted>"),
    ("{'api_key': 'abc', 'lr': 1}", "{'api_key': <redacted>, 'lr': 1}"),
    ("using WANDB_API_KEY=0123456789abcdef now", "using WANDB_API_KEY=<redacted> now"),
    ("access_token=eyJhbGciOiJIUzI1NiJ9x7 ok", "access_token=<redacted> ok"),
    ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer <redacted>"),
    ("pull https://user:p@ss@host/repo", "pull https://host/repo"),
    ("login with sk-abcdefghijklmnop1234", "login with <redacted>"),
    ("ghp_" + "a1" * 18, "<redacted>"),
    ("hf_" + "abcd" * 8, "<redacted>"),
    ("glpat-" + "x" * 20, "<redacted>"),
    ("xoxb-1234567890-abc", "<redacted>"),
    ("AKIAABCDEFGHIJKLMNOP", "<redacted>"),
    ("ASIAABCDEFGHIJKLMNOP", "<redacted>"),
    ("AIza" + "B" * 35, "<redacted>"),
    ("eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln", "<redacted>"),
    ("hub-token=abcdefj123456789", "hub-token=<redacted>"),
    ("passphrase = 'a b c'", "passphrase = <redacted>"),
    ("my_credential=xyz", "my_credential=<redacted>"),
    ("pwd=xyz", "pwd=<redacted>"),
    ("client_secret: xyz", "client_secret: <redacted>"),
    ("GET (http://host/?a=1&sig=xyz): 403", "GET (http://host/?a=1&sig=<redacted>): 403"),
    ("failed with url: /api?key=xyz&a=1", "failed with url: /api?key=<redacted>&a=1"),
    ("auth=('me', 'hunter2')", "auth=<redacted>"),
    ("login(api_key=['a1', 'b2'], x=1)", "login(api_key=<redacted>, x=1)"),
    ("password=b'hunter2', x=1", "password=<redacted>, x=1"),
    ("api_key=SecretStr('hunter2') x", "api_key=<redacted> x"),
    ("password=(", "password=<redacted>"),
    ("os.environ['API_KEY'] = 'hunter2'", "os.environ['API_KEY'] = <redacted>"),
    ("DB_PWD=hunter2", "DB_PWD=<redacted>"),
    ("password: 12345678", "password: <redacted>"),
    ("a\n-----BEGIN PRIVATE KEY-----\nMIIE\nab+/\n-----END PRIVATE KEY-----\nb", "a\n<redacted>\nb"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "<redacted>"),
]
HARMLESS = [
    "epoch 3: loss=0.31 acc=0.9",
    "tokens: 12,000 | tokens/s: 5321.4 | max_tokens=512",
    "next token: hello",
    "tokenizer: gpt2-medium-long-name-0123456789",
    "NVIDIA A100 in Asia",
    "password: None",
    "use_auth: true",
    "see https://host/path?at=a",
    "GET http://host/?max_tokens=512&tokenizer=gpt2&sort_by=key&auth=true&key_type=rsa&public_key=abc",
    "is it x=1? key=2, or ?=3",
    "the key to success: patience",
    "OLDPWD=/home/me",
    "num_passwords: 512, secret_length=16",
    "forward_pass: 3 ms, passed: 7",
]


@pytest.mark.parametrize(("text", "expected"), SECRETS)
def test_secrets_are_left_out_of_texts(text: str, expected: str) -> None:
    """A text loses what has a secret's name, place or shape, and keeps the rest."""
    assert may_hold_secrets(text)
    assert redacted_text(text) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_what_a_training_prints_stays(text: str) -> None:
    """Numbers of tokens, words that only sound like it, and choices are no secrets."""
    assert redacted_text(text) == text


@given(st.text(max_size=60), st.sampled_from([text for text, _ in SECRETS]), st.text(max_size=60))
def test_the_quick_look_misses_nothing(before: str, secret: str, after: str) -> None:
    """A text that may hold no secret by the quick look has none by the long one."""
    for text in (before + after, before + secret + after):
        assert may_hold_secrets(text) or redacted_text(text) == redacted_code(text) == text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('+API_KEY = "abcdef"', "+API_KEY = <redacted>"),
        ("-export AWS_SECRET_ACCESS_KEY=abc/def", "-export AWS_SECRET_ACCESS_KEY=<redacted>"),
        ("   password: hunter2x", "   password: <redacted>"),
        ('+    "hub_token": "hf_x9x9",', '+    "hub_token": <redacted>,'),
        ("+url = 'postgres://me:pw@db/x'", "+url = 'postgres://db/x'"),
        ('+os.environ["FOO_PASSWORD"] = "hunter2hunter2"', '+os.environ["FOO_PASSWORD"] = <redacted>'),
        ("+d['api_key']='abcd'; x = 1", "+d['api_key']=<redacted>; x = 1"),
        ('+config["token"]: "abcd"', '+config["token"]: <redacted>'),
        ('+config["token"]: str = "abcd"', '+config["token"]: str = <redacted>'),
        ('+    password: str | None = "hunter2"', "+    password: str | None = <redacted>"),
        (r"+password = 'it\'s_mine'", "+password = <redacted>"),
        ('+setattr(x, "password", "abcd")', '+setattr(x, "password", <redacted>)'),
        ("+os.environ.setdefault('API_KEY', 'abcd')", "+os.environ.setdefault('API_KEY', <redacted>)"),
        ('+os.putenv(b"X_TOKEN", b"abcd")', '+os.putenv(b"X_TOKEN", b<redacted>)'),
        ('+x = os.getenv("API_KEY", "abcd1")', '+x = os.getenv("API_KEY", <redacted>)'),
        ('+connect(host, password="abcd", port=3)', "+connect(host, password=<redacted>, port=3)"),
        ('+wandb.login(key="0123456789abcdef01234567")', "+wandb.login(key=<redacted>)"),
        ('+h["Authorization"] = "Bearer abcdef0123"', '+h["Authorization"] = "Bearer <redacted>"'),
        ('+get(f"http://h/?key={key}&sig=abc")', '+get(f"http://h/?key={key}&sig=<redacted>")'),
        (r'+    "os.environ[\"API_KEY\"] = \"abcd1\"\n",', r'+    "os.environ[\"API_KEY\"] = <redacted>\n",'),
        (r'+    "api_key = \"abcd1\"\n"', r'+    "api_key = <redacted>\n"'),
        ('+password: "a b c"', "+password: <redacted>"),
        ("+api_key: abcd1 # mine", "+api_key: <redacted> # mine"),
        ("+API_KEY=abcd1  # mine", "+API_KEY=<redacted>  # mine"),
        ("+ARG DB_PASSWORD=abcd", "+ARG DB_PASSWORD=<redacted>"),
        ("+ENV API_KEY abcd1", "+ENV API_KEY <redacted>"),
        ('+  - "SECRET_KEY=abcd1"', '+  - "SECRET_KEY=<redacted>"'),
        ("+PGPASSWORD=abcd1 psql", "+PGPASSWORD=<redacted> psql"),
        ("+docker run -e API_KEY=abcd1 x", "+docker run -e API_KEY=<redacted> x"),
        ("+python t.py --password=abcd1 --lr 1", "+python t.py --password=<redacted> --lr 1"),
        ('+API_KEY = """abcd1"""', "+API_KEY = <redacted>"),
        ("+password = 12345678", "+password = <redacted>"),
        (
            r'+{"key": "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----\n"}',
            r'+{"key": "<redacted>\n"}',
        ),
        ('+    password_help = "Enter your password"', None),
        ("+parser.add_argument('--password', help='the password of the server')", None),
        ("+connect(PASSWORD=options.password, TOKEN=token)", None),
        ("+RUN test -n $API_KEY", None),
        ("+    loss = forward_pass(x)", None),
        ('+x = options.get("token_type", "bearer")', None),
        ('+tokens.update({"pad_token": "[PAD]", "eos_token": "</s>"})', None),
        ('+fields = ("password", "username")', None),
        ('+    case "token": kind = "word"', None),
        ('+os.environ["TOKENIZERS_PARALLELISM"] = "false"', None),
        ('+os.environ["API_KEY"] = read("api_key.txt")', None),
        ('+cache_key = "resnet50_imagenet_224_v2"', None),
        ("+    token = tokenizer.next(text)", None),
        ("+def login(password: str, token: Token) -> None:", None),
        ("+        key, subkey = jax.random.split(key)", None),
        ("+    tokens: list[int]", None),
        ("+    token: Token", None),
        ('+    parser.add_argument("--api-key", default=None)', None),
        ("+    max_tokens = 512", None),
    ],
)
def test_code_loses_what_is_written_out(line: str, expected: str | None) -> None:
    """A line of code keeps its names and expressions; a secret that is written in it is left out."""
    assert redacted_code(line) == (expected or line)


def test_command_lines_lose_the_values_of_secret_options() -> None:
    """A secret option's value is left out, in whatever form it comes; numbers and other options stay."""
    command = "train.py --api-key K --token=T db.password=P --max-tokens 512 --lr 1 --auth --seed 1 http://u:p@h/x -v"
    expected = (
        "train.py --api-key <redacted> --token=<redacted> db.password=<redacted> "
        "--max-tokens 512 --lr 1 --auth --seed 1 http://h/x -v"
    )
    assert " ".join(redacted_arguments(command.split())) == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["--password", "12345678"], ["--password", "<redacted>"]),
        (["--db_pwd", "hunter2", "db_pass=x1"], ["--db_pwd", "<redacted>", "db_pass=<redacted>"]),
        (["--pass", "hunter2", "--passes", "3"], ["--pass", "<redacted>", "--passes", "3"]),
        (["--wandb-key", "0123456789abcdef01"], ["--wandb-key", "<redacted>"]),
        (["++wandb.key=0123456789abcdef01"], ["++wandb.key=<redacted>"]),
        (["--sort-key", "val_loss_of_the_last_epoch", "--key", "3"], None),
        (
            ["-c", "import os\nos.environ['API_KEY'] = 'hunter2'"],
            ["-c", "import os\nos.environ['API_KEY'] = <redacted>"],
        ),
        (["--lr", "x=1", "config.yaml"], None),
    ],
)
def test_options_of_other_names_and_forms(command: list[str], expected: list[str] | None) -> None:
    """Passwords of digits only, names that end in pass or key, and programs on the command line."""
    assert redacted_arguments(command) == (expected or command)


def test_logins_are_taken_out_of_urls_only() -> None:
    """`user:password@` goes, an @ behind the host stays."""
    assert without_logins({"a": ["http://u:p@h/x?mail=a@b", "a@b"]}) == {"a": ["http://h/x?mail=a@b", "a@b"]}
    assert without_logins("http://h?mail=a@b") == "http://h?mail=a@b"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/?token=abc", "http://h/"),
        ("http://h/p?x=1&api_key=a'b)c&y=2#top", "http://h/p?x=1&y=2#top"),
        ("http://h/?access%4Bey=abc&x=1", "http://h/?x=1"),
        ("http://h/?x=1;clientSecret=a;b;y=2", "http://h/?x=1;y=2"),
        ("http://h/#access_token=abc&state=1", "http://h/#state=1"),
        ("http://h/#/route?key=abc", "http://h/#/route"),
        ("jdbc:x://h;user=a;password=b", "jdbc:x://h;user=a"),
        ("http://h/?X-Amz-Date=1&X-Amz-Credential=a%2Fb&X-Amz-Signature=f", "http://h/?X-Amz-Date=1"),
        ("see (http://h/?sig=abc), 'http://h/?pass=b'.", "see (http://h/), 'http://h/'."),
        ("http://h/?max_tokens=5&tokens=3&tokenizer=t&auth=yes&monkey=1&key_type=r&public_key=p&token=", None),
        ("http://h/?", None),
        ("git+https://h/x.git@c#egg=token&subdirectory=key", None),
        ("what? key=3; token", None),
    ],
)
def test_secrets_are_taken_out_of_queries(url: str, expected: str | None) -> None:
    """What a query, or what takes its place, gives a name that sounds secret goes with that name; the rest stays."""
    assert without_logins({"urls": [url]}) == {"urls": [expected or url]}


def test_parameters_lose_the_secrets_in_their_urls() -> None:
    """A parameter's URL keeps its form, with a sign of what was left out."""
    assert redacted({"url": "http://u:p@h/?sig=a&x=1"}) == {"url": "http://h/?sig=<redacted>&x=1"}


@pytest.mark.parametrize(
    "text",
    [
        "secret" * 5_000,
        "a" * 30_000 + "://",
        "token" * 5_000 + "=",
        "'" * 20_000 + "key",
        "?a=" * 10_000,
        "?" + "&key=" * 6_000 + ")" * 10_000,
        "set('a_token', " * 2_000,
        "token: a" * 4_000,
        "password='" + "\\a" * 10_000,
        "password=(" * 3_000,
        "-----BEGIN PRIVATE KEY " * 1_000 + "-----END",
        "API_KEY" * 4_000,
        "--secret" * 4_000,
        '\\"' * 10_000 + "password",
    ],
    ids=lambda text: text[:12],
)
def test_odd_lines_take_no_time(text: str) -> None:
    """No text makes the search take long."""
    begin = time.perf_counter()
    redacted_text(text)
    redacted_code(text)
    redacted_arguments([text])
    without_logins(text)
    assert time.perf_counter() - begin < 2.0
