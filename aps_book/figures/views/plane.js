// Points in a plane with a logarithmic axis of time; what is pointed at, or reached by the Tab key, is said below.
const HEIGHT = 330, LEFT = 52, RIGHT = 14, TOP = 12, BOTTOM = 44, R = 6;
const HINT = "Point at a mark, or reach it with the Tab key, to read what it is.";
const SHAPES = [
  `M${R},0A${R},${R} 0 1 1 ${-R},0A${R},${R} 0 1 1 ${R},0Z`,
  "M-5.5,-5.5H5.5V5.5H-5.5Z", "M0,-7L6.5,5H-6.5Z", "M0,-7.5L7.5,0L0,7.5L-7.5,0Z", "M0,7L6.5,-5H-6.5Z",
  "M-2.3,-7H2.3V-2.3H7V2.3H2.3V7H-2.3V2.3H-7V-2.3H-2.3Z", "M-6.5,-4L-4,-6.5L0,-2.5L4,-6.5L6.5,-4L2.5,0L6.5,4L4,6.5L0,2.5L-4,6.5L-6.5,4L-2.5,0Z",
];
const extra = document.createElement("style");
extra.textContent = `
  #said { min-height: 2.8em; margin: 0.3rem 0; } text { font-size: 12px; fill: #1f2328; }
  #plot svg { display: block; max-width: 100%; }
  #legend { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; font-size: 0.85rem; }
  #legend span { display: inline-flex; gap: 0.3rem; align-items: center; }
  .mark { cursor: pointer; outline: none; } .mark:is(:hover, :focus) path { stroke: #000; stroke-width: 3; }`;
document.head.append(extra);
const drawn = (tag, attributes, ...children) => {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...children);
  return one;
};
const look = (method) => {
  const i = data.methods.indexOf(method), colours = data.colours;
  return {colour: colours[i % colours.length], shape: SHAPES[(i + Math.floor(i / colours.length)) % SHAPES.length]};
};
const seconds = (power) => (power < -2 || power > 3 ? `10^${power}` : `${10 ** power}`);
const draw = () => {
  const panel = data.panels[byId("panel").selectedIndex], width = Math.max(byId("plot").clientWidth, 260);
  const times = panel.points.map((one) => Math.log10(one.seconds));
  const ends = panel.points.flatMap((one) => [one.quality - 2 * (one.se || 0), one.quality + 2 * (one.se || 0)]);
  const wide = (low, high) => [low - 0.06 * (high - low || 1), high + 0.06 * (high - low || 1)];
  const [x0, x1] = wide(Math.min(...times), Math.max(...times)), [y0, y1] = wide(Math.min(...ends), Math.max(...ends));
  const x = (time) => LEFT + ((Math.log10(time) - x0) / (x1 - x0)) * (width - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const svg = drawn("svg", {width, height: HEIGHT, role: "group", "aria-label": `${panel.title}: ${data.ylabel} against ${data.xlabel}`});
  for (let power = Math.ceil(x0); power <= x1; power++) {
    const at = x(10 ** power);
    svg.append(drawn("path", {d: `M${at},${TOP}V${HEIGHT - BOTTOM}`, stroke: "#d0d7de"}));
    svg.append(drawn("text", {x: at, y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, seconds(power)));
  }
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((one) => (y1 - y0) / one < 9) || 50;
  for (let value = Math.ceil(y0 / step) * step; value <= y1; value += step) {
    svg.append(drawn("path", {d: `M${LEFT},${y(value)}H${width - RIGHT}`, stroke: "#d0d7de"}));
    svg.append(drawn("text", {x: LEFT - 6, y: y(value) + 4, "text-anchor": "end"}, value.toFixed(step < 1 ? 1 : 0)));
  }
  svg.append(drawn("text", {x: (LEFT + width) / 2, y: HEIGHT - 8, "text-anchor": "middle"}, data.xlabel));
  svg.append(drawn("text", {transform: `translate(13 ${(HEIGHT - BOTTOM) / 2}) rotate(-90)`, "text-anchor": "middle"}, data.ylabel));
  const methods = data.methods.filter((method) => panel.points.some((one) => one.method === method));
  for (const method of methods) {
    const path = panel.points.filter((one) => one.method === method).map((one) => `${x(one.seconds)},${y(one.quality)}`);
    svg.append(drawn("path", {d: "M" + path.join("L"), stroke: look(method).colour, fill: "none"}));
  }
  for (const one of panel.points) {
    const {colour, shape} = look(one.method), [cx, cy] = [x(one.seconds), y(one.quality)];
    const mark = drawn("g", {class: "mark", tabindex: 0, role: "img", "aria-label": one.said});
    const reach = 2 * (one.se || 0);
    mark.append(drawn("title", {}, one.said));
    mark.append(drawn("path", {d: `M${cx},${y(one.quality - reach)}V${y(one.quality + reach)}`, stroke: colour}));
    mark.append(drawn("path", {d: shape, transform: `translate(${cx} ${cy})`, fill: one.taken ? colour : "#fff", stroke: colour, "stroke-width": 1.5}));
    for (const event of ["focus", "pointerenter"]) mark.addEventListener(event, () => { byId("said").textContent = one.said; });
    svg.append(mark);
  }
  byId("plot").replaceChildren(svg);
  byId("legend").replaceChildren(...methods.map((method) => {
    const {colour, shape} = look(method);
    const key = drawn("svg", {width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true"}, drawn("path", {d: shape, fill: colour}));
    return made("span", {}, key, method);
  }));
};
data.panels.forEach((one) => byId("panel").append(made("option", {textContent: one.title})));
byId("panel").addEventListener("change", () => { byId("said").textContent = HINT; draw(); });
byId("said").textContent = HINT;
let last = 0;
new ResizeObserver(() => { if (byId("plot").clientWidth !== last) { last = byId("plot").clientWidth; draw(); } }).observe(byId("plot"));
draw();
