"use strict";
(() => {
  const known = JSON.parse(document.getElementById("known").textContent).gallery;
  const form = document.getElementById("filters");
  const dialog = document.getElementById("dialog");
  const part = (name) => document.getElementById(`dialog-${name}`);
  let shown = null;

  // ── filters ──
  function filter() {
    const asked = [...form.querySelectorAll("select")].filter((one) => one.value !== "");
    const key = document.getElementById("filter-key").value.trim();
    let count = 0;
    for (const one of document.querySelectorAll("#gallery-cards .exhibit")) {
      const values = known[Number(one.dataset.place)];
      const wanted = asked.every((control) => values[control.dataset.facet].includes(Number(control.value)));
      one.hidden = !(wanted && values.key.includes(key));
      count += one.hidden ? 0 : 1;
    }
    document.getElementById("filter-count").value = `${count} of ${known.length} variants`;
  }

  function showAll() {
    form.reset();
    filter();
  }

  // ── strips ──
  function show(exhibit) {
    shown = exhibit;
    part("key").textContent = exhibit.querySelector(".lines b").textContent;
    part("strip").replaceChildren(exhibit.querySelector(".strip").cloneNode(true));
    part("previous").disabled = !beside(-1);
    part("next").disabled = !beside(1);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    part("key").focus();
  }

  function beside(step) {
    const row = [...shown.closest(".cards").querySelectorAll(".exhibit:not([hidden])")];
    return row[row.indexOf(shown) + step];
  }

  function go(step) {
    const next = beside(step);
    if (next) show(next);
  }

  for (const summary of document.querySelectorAll(".exhibit > summary")) {
    summary.setAttribute("aria-haspopup", "dialog");
    summary.addEventListener("click", (event) => {
      event.preventDefault();
      show(summary.parentElement);
    });
  }
  part("previous").addEventListener("click", () => go(-1));
  part("next").addEventListener("click", () => go(1));
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      go(step);
    }
  });
  dialog.addEventListener("close", () => {
    part("strip").replaceChildren();
    shown.querySelector("summary").focus();
  });

  if (form) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("filter-none").addEventListener("click", showAll);
    // Browsers may bring back what was chosen before a reload.
    showAll();
  }
})();
