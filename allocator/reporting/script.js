"use strict";
(() => {
  // A slider below each chart walks along its points; pointing at the chart moves it too.
  let charts = 0;
  for (const plot of document.querySelectorAll(".plot")) {
    const sizes = JSON.parse(plot.dataset.points), steps = JSON.parse(plot.dataset.steps);
    const probe = plot.querySelector(".probe"), slider = probe.querySelector("input"), says = probe.querySelector("output");
    const pictures = [...plot.querySelectorAll("svg.chart")];
    const show = () => {
      const at = Number(slider.value);
      says.textContent = steps[at];
      slider.setAttribute("aria-valuetext", steps[at]);
      pictures.forEach((picture, size) => {
        const [x, ...heights] = sizes[size][at], cursor = picture.querySelector(".cursor");
        const line = cursor.querySelector("line");
        line.setAttribute("x1", x);
        line.setAttribute("x2", x);
        cursor.querySelectorAll("circle").forEach((circle, panel) => {
          circle.setAttribute("cx", x);
          circle.setAttribute("cy", heights[panel]);
        });
        cursor.setAttribute("visibility", "visible");
      });
    };
    pictures.forEach((picture, size) => {
      const nearest = (event) => {
        const box = picture.getBoundingClientRect();
        const x = (event.clientX - box.left) / box.width * picture.viewBox.baseVal.width;
        const points = sizes[size];
        let best = 0;
        points.forEach((point, k) => {
          if (Math.abs(point[0] - x) < Math.abs(points[best][0] - x)) best = k;
        });
        slider.value = best;
        show();
      };
      picture.addEventListener("pointermove", nearest);
      picture.addEventListener("pointerdown", nearest);
    });
    slider.addEventListener("input", show);
    probe.hidden = false;
    show();
    charts += 1;
  }

  // Column heads sort their table; long tables show their first rows until asked for more.
  const keyOf = (row, column) => {
    const cell = row.cells[column], key = cell.dataset.v;
    return key === undefined ? null : key;
  };
  const numeric = (key) => key !== null && key !== "" && !Number.isNaN(Number(key));
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return numeric(a) && numeric(b) ? Number(a) - Number(b) : a.localeCompare(b);
  };
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
    const most = Number(table.dataset.rows || rows.length);
    let open = false;
    const page = () => [...body.rows].forEach((row, k) => { row.hidden = !open && k >= most; });
    if (rows.length > most) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "more";
      const label = () => { button.textContent = open ? `Show ${most} rows` : `Show all ${rows.length} rows`; };
      button.addEventListener("click", () => {
        open = !open;
        button.setAttribute("aria-expanded", String(open));
        label();
        page();
      });
      button.setAttribute("aria-expanded", "false");
      label();
      page();
      table.parentElement.after(button);
    }
    if (rows.length < 3) continue;
    heads.forEach((head, column) => {
      if (head.tagName !== "TH" || rows.every((row) => keyOf(row, column) === null)) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const words = rows.some((row) => keyOf(row, column) !== null && !numeric(keyOf(row, column)));
        const before = head.getAttribute("aria-sort");
        const up = before === null ? words : before === "descending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const sorted = [...rows].sort((a, b) => {
          const one = keyOf(a, column), two = keyOf(b, column);
          if (one === null || two === null) return compare(one, two);
          return up ? compare(one, two) : compare(two, one);
        });
        body.append(...sorted);
        page();
      });
    });
  }
  document.documentElement.dataset.charts = String(charts);
})();
