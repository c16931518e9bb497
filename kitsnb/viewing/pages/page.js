// The page: its table sorts by any heading, and the viewer shows the case that is chosen.
import { createViewer, unpack } from "./viewer.js";

const element = (id) => document.getElementById(id);
for (const [column, heading] of [...document.querySelectorAll("thead th")].entries()) {
  heading.firstChild.onclick = () => {
    const way = heading.ariaSort === "descending" ? 1 : -1, value = (row) => row.children[column].dataset.value;
    const order = (a, b) => (isNaN(value(a)) ? value(a).localeCompare(value(b)) : value(a) - value(b));
    for (const other of document.querySelectorAll("thead th")) other.ariaSort = null;
    heading.ariaSort = way === 1 ? "ascending" : "descending";
    document.querySelector("tbody").append(...[...document.querySelectorAll("tbody tr")].sort((a, b) => way * order(a, b)));
  };
}

const { cases, look } = JSON.parse(element("given").textContent), viewer = createViewer(element("stage"), look);
async function open() {
  const { facts, files, ...about } = cases[element("case").selectedIndex];
  element("facts").textContent = facts;
  try {
    const answers = await Promise.all(Object.entries(files).map(async ([kind, file]) => [kind, (await fetch(file)).body]));
    const arrays = await unpack(Object.fromEntries(answers));
    if (files === cases[element("case").selectedIndex].files) viewer.show({ ...about, ...arrays });
  } catch (error) {
    element("facts").textContent = `This case could not be read (${error.message}); a web server must serve this folder.`;
  }
}
element("case").onchange = open;
open();
