// The page without a viewer: tables that sort and copy, pictures that wipe, histograms that answer.
(function () {
  "use strict";
  document.documentElement.classList.add("scripted");

  function make(tag, text, attributes) {
    const found = document.createElement(tag);
    if (text) found.textContent = text;
    for (const name in attributes || {}) found.setAttribute(name, attributes[name]);
    return found;
  }

  // "(1.43 ± 0.15)×10⁻⁵" -> 1.43e-5; NaN for words. mGy count a thousandth.
  const raised = { "⁻": "-", "⁰": "0", "¹": "1", "²": "2", "³": "3", "⁴": "4", "⁵": "5", "⁶": "6", "⁷": "7", "⁸": "8", "⁹": "9" };
  function numberOf(text) {
    const plain = text.replace(/\u2212/g, "-").replace(/[⁻⁰¹²³⁴-⁹]/g, (c) => raised[c]);
    const found = plain.match(/^\s*[(<]?\s*([-+]?[0-9]*\.?[0-9]+)/);
    if (!found) return NaN;
    const power = plain.match(/×10(-?[0-9]+)/);
    return parseFloat(found[1]) * (power ? Math.pow(10, +power[1]) : 1) * (/mGy/.test(plain) ? 1e-3 : 1);
  }

  function sortable(table) {
    const heads = Array.from(table.querySelectorAll("thead th"));
    const body = table.tBodies[0];
    const first = Array.from(body.rows);
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = make("button", "", { type: "button", class: "sort", title: "Sort by this column" });
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        const next = was === "ascending" ? "descending" : was === "descending" ? "none" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        let rows = first.slice();
        if (next !== "none") {
          head.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          const key = (row) => row.cells[column].textContent.trim();
          rows.sort((a, b) => {
            const x = numberOf(key(a)), y = numberOf(key(b));
            if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
            return sign * (isNaN(x) ? key(a).localeCompare(key(b)) : x - y);
          });
        }
        rows.forEach((row) => body.appendChild(row));
      });
    });
  }

  function copyable(table) {
    const button = make("button", "copy", { type: "button", class: "copy", title: "Copy this table for a spreadsheet" });
    button.addEventListener("click", () => {
      const lines = Array.from(table.rows).map((row) => Array.from(row.cells).map((cell) => cell.textContent.trim().replace(/\s+/g, " ")).join("\t"));
      copyText(lines.join("\n")).then((done) => {
        button.textContent = done ? "copied" : "not allowed here";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
    });
    table.parentNode.parentNode.insertBefore(button, table.parentNode);
  }

  function copyText(text) {
    if (navigator.clipboard && window.isSecureContext) {
      return navigator.clipboard.writeText(text).then(() => true, () => fallBack(text));
    }
    return Promise.resolve(fallBack(text));
  }

  function fallBack(text) {
    const area = make("textarea", text, { class: "off" });
    document.body.appendChild(area);
    area.select();
    let done = false;
    try { done = document.execCommand("copy"); } catch (error) { done = false; }
    area.remove();
    return done;
  }

  document.querySelectorAll("table.sortable").forEach((table) => { sortable(table); copyable(table); });

  // One slider and one choice wipe all pictures of a scan: on the left a stage of the registration, on the right the last.
  document.querySelectorAll(".wipe").forEach((block) => {
    const stages = block.dataset.stages.split(" ");
    if (stages.length < 2) return;
    block.classList.add("on");
    const bar = make("div", "", { class: "controls" });
    const range = make("input", "", { type: "range", min: "0", max: "100", value: "50", "aria-label": "Where the pictures change from the stage chosen to the registered one" });
    const choice = make("select", "", { "aria-label": "Stage on the left" });
    stages.slice(0, -1).forEach((stage) => choice.appendChild(make("option", stage, { value: stage })));
    const label = make("label", "left of the line: ");
    label.appendChild(choice);
    const swing = make("label", "line: ");
    swing.appendChild(range);
    bar.append(label, swing, make("span", "right of it: " + stages[stages.length - 1]));
    block.querySelector("h3").after(bar);
    const update = () => {
      block.querySelectorAll(".stack").forEach((stack) => {
        stack.style.setProperty("--cut", range.value + "%");
        stack.querySelectorAll("figure").forEach((stage) => {
          const name = stage.dataset.stage, last = name === stages[stages.length - 1];
          stage.hidden = !last && name !== choice.value;
        });
      });
    };
    range.addEventListener("input", update);
    choice.addEventListener("change", update);
    update();
  });

  // A choice of what a part of the page shows; styles do the rest.
  document.querySelectorAll(".switch").forEach((choice) => {
    const part = document.querySelector(choice.dataset.of);
    choice.querySelectorAll("input").forEach((input) => {
      const update = () => { if (input.checked) part.dataset.shown = input.value; };
      input.addEventListener("change", update);
      update();
    });
  });

  // Histograms: the legend shows and hides a curve, the pointer (or the arrow keys) reads all others out.
  const hidden = new Set();
  document.querySelectorAll(".histogram").forEach((figure) => {
    const tellers = Array.from(figure.querySelectorAll("svg.dvh")).map(histogram);
    figure.querySelectorAll("button[data-structure]").forEach((button) => {
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const name = button.dataset.structure;
        if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        figure.querySelectorAll("polyline[data-structure]").forEach((line) => {
          if (line.dataset.structure === name) line.style.display = hidden.has(name) ? "none" : "";
        });
        tellers.forEach((tell) => tell());
      });
    });
  });

  // One drawing; what comes back reads its curves out where the cursor stands, once it stands somewhere.
  function histogram(svg) {
    const data = JSON.parse(svg.parentNode.querySelector("script").textContent);
    const cursor = svg.querySelector(".cursor"), told = svg.parentNode.querySelector(".told");
    const differential = data.kind === "differential", unit = differential ? " %/Gy" : " %";
    let dose = null;
    function tell() {
      if (dose === null) return;
      const x = data.left + (data.right - data.left) * dose / data.end_gy;
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      const parts = [];
      for (const name in data.curves) {
        if (hidden.has(name)) continue;
        const share = shareAt(data.curves[name], dose);
        parts.push(name + " " + (differential ? share.toPrecision(3) : share.toFixed(1)) + unit);
      }
      told.textContent = (differential ? "at " : "at least ") + dose.toPrecision(3) + " Gy: " + parts.join(", ");
    }
    function go(wanted) {
      dose = Math.min(Math.max(wanted, 0), data.end_gy);
      tell();
    }
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      go((x - data.left) / (data.right - data.left) * data.end_gy);
    });
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.01, ArrowRight: 0.01, PageDown: -0.1, PageUp: 0.1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      go((dose || 0) + step * data.end_gy);
    });
    return tell;
  }

  function shareAt(curve, dose) {
    const doses = curve[0], shares = curve[1];
    if (dose >= doses[doses.length - 1]) return dose > doses[doses.length - 1] ? 0 : shares[shares.length - 1];
    let n = 0;
    while (doses[n + 1] < dose) n += 1;
    const part = (dose - doses[n]) / (doses[n + 1] - doses[n] || 1);
    return shares[n] + part * (shares[n + 1] - shares[n]);
  }
})();
