// A click on a heading of the table sorts its rows by that column; a second click turns the order round.
for (const [column, heading] of [...document.querySelectorAll("thead th")].entries()) {
  heading.querySelector("button").onclick = () => {
    const up = heading.getAttribute("aria-sort") === "descending";
    const body = document.querySelector("tbody");
    const value = (row) => row.children[column].dataset.value;
    const order = (a, b) => (isNaN(value(a)) ? value(a).localeCompare(value(b)) : value(a) - value(b));
    body.append(...[...body.children].sort((a, b) => (up ? 1 : -1) * order(a, b)));
    for (const other of document.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
}
