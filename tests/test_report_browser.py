"""A report in a real browser, on wide and narrow screens, light and dark: what no parser sees."""

from pathlib import Path

import pytest
from chromium import browser  # noqa: F401  a fixture
from reports import program
from test_report import make_training
from test_report_sections import make_data, make_embeddings, make_measure, make_trials

WIDTHS = (1400, 390)
OVERFLOWING = """[...document.querySelectorAll('body *')]
  .filter(one => !one.closest('.scroll *, svg *') && one.getBoundingClientRect().right > innerWidth + 0.5)
  .map(one => one.tagName + ' ' + one.textContent.slice(0, 40)).join('; ')"""
CUT = """[...document.querySelectorAll('svg text')].filter(text => {
  const a = text.getBoundingClientRect(), b = text.closest('svg').getBoundingClientRect()
  return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1
}).map(text => text.textContent).join('; ')"""
OVERLAPPING = """[...document.querySelectorAll('figure > svg')].flatMap(svg => {
  const all = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()])
  return all.flatMap(([one, a], place) => all.slice(place + 1).filter(([_, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1).map(([other]) => one + ' on ' + other))
}).join('; ')"""
CONTRAST = """(() => {  // the least contrast of text against the page, as WCAG 2 counts it
  const part = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g).map(value => part(value / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b }
  const paper = light(getComputedStyle(document.body).backgroundColor)
  return Math.min(...[...document.querySelectorAll('h1, h2, p, a, td, th, dt, dd, svg text')].map(one => light(getComputedStyle(one).color))
    .map(ink => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05)))
})()"""
UNNAMED = """[...document.querySelectorAll('svg:not([aria-hidden])')].filter(svg => !svg.ariaLabel || svg.role != 'img').length
  + [...document.querySelectorAll('input')].filter(input => !input.labels.length).length
  + [...document.querySelectorAll('table')].filter(one => !one.querySelector('th[scope]')).length"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with all there can be in it, with long names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        name = "exp/x"
        make_training(name, valid_min_dcf=(0.9, 0.8, 0.7))
        Path(name, "validate_dev").mkdir()
        Path(name, "validate_dev/valid.tsv").write_text("epoch\tvalid_eer\tweights_sha256\n1\t0.4\tab\n3\t0.2\tcd\n")
        data = make_data(utt2a_table_of_words={f"{spk}-{n}": f"word{n}" for spk in ("ann", "bob", "cid") for n in range(4)})
        make_trials(f"{name}/test", data)
        make_trials(f"{name}/test", data, "scores_calibrated", "eer_calibrated")
        Path(name, "test/.done").mkdir()
        Path(name, "test/.done/apply_calibration.scores_calibrated.json").write_text("{}")
        make_embeddings(f"{name}/test", data)
        make_measure("classes", ["class_of_a_long_name", "b", "b"], ["class_of_a_long_name", "class_of_a_long_name", "b"], "measure_classes")
        make_measure("numbers", [20, 30, 40], [25, 30.5, 33])
        other = make_trials("exp/a_system_of_another_name_that_is_long_indeed/test", data, scale=0.1)
        done = program("report", "--compare", f"a_system_of_another_name_that_is_long_indeed={other}", name)
        assert (done.returncode, done.stderr) == (0, "")
        yield Path(name, "report.html").resolve()


@pytest.fixture(params=[(width, dark) for width in WIDTHS for dark in (False, True)], ids=lambda param: f"{param[0]}-{'dark' if param[1] else 'light'}")
def shown(request, browser, page):  # noqa: F811
    browser.open(page, *request.param)
    return browser


def test_the_page_asks_for_no_other_and_nothing_is_complained_of(shown, page):
    assert shown.requests == [page.as_uri()]
    assert shown.log == []
    sections = "Results, Detection error trade-off, Scores, Bayes error, Calibration, Worst trials, Predicted classes, Predicted numbers, Embeddings, Training"
    assert shown.value("[...document.querySelectorAll('h2')].map(one => one.textContent).join(', ')") == f"{sections}, What was run"


def test_nothing_is_wider_than_the_screen(shown):
    assert shown.value("document.documentElement.scrollWidth <= innerWidth")
    assert shown.value(OVERFLOWING) == ""


def test_no_label_of_a_picture_is_cut_or_stands_on_another(shown):
    assert shown.value("document.querySelectorAll('svg text').length") > 50
    assert shown.value(CUT) == ""
    assert shown.value(OVERLAPPING) == ""


def test_text_stands_out_from_the_page(shown):
    assert shown.value(CONTRAST) >= 4.5


def test_pictures_choices_and_tables_have_names(shown):
    assert shown.value(UNNAMED) == 0


def test_a_choice_of_colours_changes_the_points_and_the_legend(browser, page):  # noqa: F811
    browser.open(page, 1400)
    fill = "getComputedStyle(document.querySelector('.cloud circle')).fill"
    legend = "[...document.querySelectorAll('.cloud .key')].filter(one => one.offsetHeight).map(one => one.innerText.trim()).join('; ')"
    before = browser.value(fill)
    assert browser.value(legend).split() == ["ann", "bob", "cid"]
    labels = browser.value("[...document.querySelectorAll('.cloud label')].map(one => one.textContent).join(' ')")
    assert labels == "speaker gender a_table_of_words age"
    browser.value("document.querySelector('label[for=cloud0-3]').click()")
    assert browser.value(legend).replace(" ", "") == "2053"
    assert browser.value(fill) != before


def test_each_link_to_a_recording_finds_one(browser, page):  # noqa: F811
    from urllib.parse import unquote, urlsplit

    browser.open(page, 1400)
    links = browser.value("[...document.querySelectorAll('td a')].map(one => one.href)")
    assert links and all(Path(unquote(urlsplit(link).path)).is_file() for link in links)
