"""Kinds of pages are learned from the pages seen, whatever the site."""

from __future__ import annotations

import pytest

from patterns.pages import PageKinds, Visits, learn, parts_of


def kinds(*pages: str, users: int = 1) -> PageKinds:
    return learn([(page, Visits(users, float(users))) for page in pages])


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("/product/7/hi-shirt", "/product/*"),
        ("/product/99/never-seen", "/product/*"),
        ("/cart", "/cart"),
        ("/cart/?coupon=5", "/cart"),
        ("https://shop.example/cart#top", "/cart"),
        ("/", "/"),
        ("homepage", "homepage"),
        ("#/settings/profile", "#/settings/profile"),
        ("/nowhere/at/all", "/*"),
    ],
)
def test_ids_and_titles_are_one_kind_and_places_stay_apart(page: str, kind: str) -> None:
    seen = [f"/product/{n}/{chr(97 + n)}{chr(98 + n)}-shirt" for n in range(24)]
    assert kinds(*seen, "/cart", "/", "homepage", "#/settings/profile").kind_of(page) == kind


@pytest.mark.parametrize(
    "ids",
    [
        [str(n) for n in (3, 14)],
        ["1f9020f8feb76b71", "deadbeef00112233"],
        ["550e8400-e29b-41d4-a716-446655440000", "650E8400-E29B-41D4-A716-446655440000"],
        ["ann@example.org", "bob@example.org"],
    ],
)
def test_two_ids_beside_each_other_are_enough(ids: list[str]) -> None:
    assert {kinds(*[f"/user/{one}/orders" for one in ids]).kind_of(f"/user/{one}/orders") for one in ids} == {
        "/user/*/orders"
    }


def test_one_number_alone_is_a_name() -> None:
    assert kinds("/page/404").kind_of("/page/404") == "/page/404"


def test_parts_that_differ_in_numbers_only_are_one_also_in_lists() -> None:
    learned = kinds(*[f"/filter/b{n},b{n + 1},p{n}" for n in range(3)])
    assert learned.kind_of("/filter/p9,b8") == "/filter/b*,p*"


def test_titles_that_hardly_anybody_shares_are_one_kind_without_a_digit_in_them() -> None:
    titles = ["".join(chr(97 + (n * k) % 26) for k in (1, 3, 7)) for n in range(1, 26)]
    assert {kinds(*[f"/blog/{title}" for title in titles]).kind_of(f"/blog/{title}") for title in titles} == {"/blog/*"}


def test_of_many_parts_those_that_many_share_stay_and_a_crawler_alone_decides_nothing() -> None:
    seen = [("/cart", Visits(80, 40.0)), ("/search", Visits(60, 20.0))]
    seen += [(f"/{chr(97 + n // 26)}{chr(97 + n % 26)}x", Visits(1, 0.01)) for n in range(300)]
    learned = learn(seen)
    assert [learned.kind_of(page) for page in ("/cart", "/search", "/abx", "/new")] == ["/cart", "/search", "/*", "/*"]


def test_what_was_learned_stays_the_next_day_and_comes_back_from_its_texts() -> None:
    first = kinds(*[f"/product/{n}" for n in range(5)], "/cart")
    again = learn([("/product/7", Visits(1, 1.0)), ("/help", Visits(1, 1.0))], PageKinds(first.templates))
    assert [again.kind_of(page) for page in ("/product/7", "/cart", "/help")] == ["/product/*", "/cart", "/help"]


def test_encoded_text_is_decoded_for_people_and_stays_one_line_and_one_part() -> None:
    persian = "%D9%81%D8%B1%D9%88%D8%B4%DA%AF%D8%A7%D9%87"
    assert parts_of(f"/{persian}/a%2Fb*/x%0Ay%00z") == ("", "فروشگاه", "a\u2215b\u2217", "x y z")


def test_a_page_of_a_megabyte_or_a_thousand_parts_has_a_short_kind() -> None:
    long = ["/" + "x" * 1_000_000, "/a" * 1000, "%" * 1000, "", "//", "*"]
    learned = kinds(*long)
    assert max(len(learned.kind_of(page)) for page in long) < 200


def test_a_name_that_may_be_of_fewer_than_so_many_users_is_no_kind_however_many_pages_they_saw() -> None:
    theirs = [(f"/hers/{n}", Visits(1, 1 / 500)) for n in range(500)] + [("/his", Visits(1, 1.0))]
    shared = [("/cart", Visits(3, 0.3)), *((f"/product/{n}", Visits(1, 0.1)) for n in range(40))]
    learned = learn([*theirs, *shared], least_users=3)
    assert {learned.kind_of(page) for page in ("/hers/7", "/his")} == {"/*"}
    assert [learned.kind_of(page) for page in ("/cart", "/product/9")] == ["/cart", "/product/*"]
    assert learn(theirs).kind_of("/his") == "/his"
