// What makes the workspace's pages a little quicker to use. Without it they show the same, after a reload or a click.
"use strict";

const POLL = 3000;
const SLOWEST = 60000;

// A part that agents change while one looks at it: asked for again and again, and only replaced when it is another.
function keepUpToDate(place) {
  let tag = null;
  let pause = POLL;
  async function ask() {
    if (document.hidden) return setTimeout(ask, pause);
    try {
      const headers = tag ? { "If-None-Match": tag } : {};
      const answer = await fetch(place.dataset.live, { headers, cache: "no-store", redirect: "error" });
      if (answer.status === 200) {
        place.innerHTML = await answer.text();
        tag = answer.headers.get("ETag");
        pause = POLL;
      } else if (answer.status !== 304) {
        pause = Math.min(2 * pause, SLOWEST);
      }
      if (answer.status === 401 || answer.status === 404) return;
    } catch {
      pause = Math.min(2 * pause, SLOWEST);
    }
    setTimeout(ask, pause);
  }
  setTimeout(ask, pause);
}

// A part that takes longer than the page that it is on.
async function load(place) {
  try {
    const answer = await fetch(place.dataset.load + "?part=1", { redirect: "error" });
    if (answer.ok) place.innerHTML = await answer.text();
  } catch {
    // The link to it stays.
  }
}

// What one would ask an agent, to be copied.
function offerCopy(place) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(place.querySelector("q").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  place.append(button);
}

document.querySelectorAll("[data-live]").forEach(keepUpToDate);
document.querySelectorAll("[data-load]").forEach(load);
if (navigator.clipboard) document.querySelectorAll("[data-ask]").forEach(offerCopy);
// Beside the list there is room for the tree; above it there is not.
if (matchMedia("(max-width: 62rem)").matches) document.querySelectorAll(".tree-fold").forEach((fold) => { fold.open = false; });
// A select of a filter takes effect at once; the button is for those without this script.
document.querySelectorAll("form.filters").forEach((form) => {
  form.addEventListener("change", (event) => { if (event.target.matches("select")) form.requestSubmit(); });
});
