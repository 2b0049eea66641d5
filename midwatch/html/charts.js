/* Draws the lines of a page's charts again with uPlot, so that a reader can point at a moment.
   Each chart is a figure with a drawing (.plot) and its numbers (script.chart-data, which is never executed). */
(() => {
  "use strict";
  const ROOM = 18; // pixels below the drawing, where the axis of time stands
  const drawn = new Map(); // figure -> {plot, text, observer}

  const colour = (kind) => getComputedStyle(document.documentElement).getPropertyValue("--" + kind).trim() || "gray";

  const faded = (kind) => colour(kind) + "2e"; // hexadecimal alpha of 18%

  const plain = (value) => {
    const size = Math.abs(value);
    if (size >= 1e6) return (value / 1e6).toPrecision(3) + " M";
    if (size >= 1e3) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(3)));
  };

  const said = (value, unit) => {
    if (value === null || value === undefined) return "no data";
    if (unit === "ratio") return Number((value * 100).toPrecision(5)) + "%";
    if (unit === "per_second") return plain(value) + "/s";
    if (unit === "seconds") {
      const size = Math.abs(value);
      if (size < 1) return Number((value * 1000).toPrecision(3)) + " ms";
      if (size < 60) return Number(value.toPrecision(3)) + " s";
      if (size < 3600) return Number((value / 60).toPrecision(3)) + " min";
      return size < 172800 ? Number((value / 3600).toPrecision(3)) + " h" : Number((value / 86400).toPrecision(3)) + " d";
    }
    return plain(value) + (unit && unit !== "count" ? " " + unit : "");
  };

  const moment = (at) => new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ") + "Z";

  // 24 hours, in UTC; the date where the axis spans days
  const clock = (at, within) => {
    const text = new Date(at * 1000).toISOString();
    return within <= 900 ? text.slice(11, 19) : within <= 129600 ? text.slice(11, 16) : text.slice(5, 10);
  };

  // an x on the axis: a moment, a name, or a number
  const tick = (data, one) => (data.time ? clock(one, data.x.at(-1) - data.x[0]) : data.names.length ? data.names[one] ?? "" : plain(one));

  const series = (data) => {
    const lines = data.lines.map((line) => ({
      label: line.name, stroke: colour(line.kind), width: 1.6, dash: line.dashed ? [5, 4] : undefined, points: { show: line.values.filter((one) => one !== null).length < 3 },
    }));
    const edges = data.bands.flatMap((band) => [
      { label: band.name + " high", stroke: "transparent", points: { show: false } },
      { label: band.name + " low", stroke: "transparent", points: { show: false } },
    ]);
    return [{}, ...lines, ...edges];
  };

  const columns = (data) => [data.x, ...data.lines.map((line) => line.values), ...data.bands.flatMap((band) => [band.high, band.low])];

  const draw_rules = (data) => (plot) => {
    const context = plot.ctx;
    const { left, top, width, height } = plot.bbox;
    context.save();
    context.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    context.lineWidth = 1.6 * devicePixelRatio;
    for (const [one, along] of [...data.rules.map((rule) => [rule, true]), ...data.marks.map((mark) => [mark, false])]) {
      const at = Math.round(plot.valToPos(one.at, along ? "y" : "x", true));
      context.strokeStyle = colour(one.kind);
      context.beginPath();
      context.moveTo(along ? left : at, along ? at : top);
      context.lineTo(along ? left + width : at, along ? at : top + height);
      context.stroke();
    }
    context.restore();
  };

  const options = (data, holder, readout) => {
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const first = 1 + data.lines.length;
    return {
      width: holder.clientWidth, height: holder.clientHeight + ROOM, padding: [8, 8, 0, 0], legend: { show: false }, series: series(data),
      bands: data.bands.map((band, index) => ({ series: [first + 2 * index, first + 2 * index + 1], fill: faded(band.kind) })),
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { x: { time: data.time }, y: { range: [data.low, data.high] } },
      axes: [{ ...axis, size: 28, values: (_, ticks) => ticks.map((one) => tick(data, one)) }, { ...axis, size: 64, values: (_, ticks) => ticks.map((one) => said(one, data.unit)) }],
      cursor: { drag: { x: false, y: false } },
      hooks: {
        draw: [draw_rules(data)],
        setCursor: [(plot) => {
          const index = plot.cursor.idx;
          readout.textContent = index === null || index === undefined ? "" :
            [data.time ? moment(data.x[index]) : tick(data, data.x[index]), ...data.lines.map((line) => line.name + " " + said(line.values[index], data.unit))].join("   ");
        }],
      },
    };
  };

  const forget = (figure) => {
    const one = drawn.get(figure);
    if (!one) return;
    one.observer.disconnect();
    one.plot.destroy();
    drawn.delete(figure);
  };

  const draw = (figure) => {
    const script = figure.querySelector("script.chart-data");
    const holder = figure.querySelector(".plot");
    if (!script || !holder) return;
    const text = script.textContent;
    if (drawn.get(figure)?.text === text) return;
    forget(figure);
    const data = JSON.parse(text);
    if (data.x.length < 2) return;
    let readout = figure.querySelector(".readout");
    if (!readout) {
      readout = document.createElement("span");
      readout.className = "readout";
      readout.setAttribute("aria-hidden", "true"); // the table of numbers says it to those who do not see
      readout.setAttribute("hx-morph-skip", "");
    }
    const summary = holder.querySelector("svg")?.getAttribute("aria-label") ?? holder.getAttribute("aria-label");
    holder.replaceChildren();
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", summary);
    const plot = new uPlot(options(data, holder, readout), columns(data), holder);
    holder.after(readout);
    const observer = new ResizeObserver(() => plot.setSize({ width: holder.clientWidth, height: holder.clientHeight + ROOM }));
    observer.observe(holder);
    drawn.set(figure, { plot, text, observer });
  };

  const draw_all = () => {
    for (const figure of drawn.keys()) if (!figure.isConnected) forget(figure);
    document.querySelectorAll("figure.chart").forEach(draw);
  };

  let waiting = false;
  const draw_soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw_all(); });
  };

  const draw_anew = () => { [...drawn.keys()].forEach(forget); draw_all(); };

  draw_all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw_anew);
  new MutationObserver(draw_soon).observe(document.body, { childList: true, subtree: true });
})();
