// A triangle mesh in the colours of a signal, turned by mouse, finger, arrow keys or buttons. The wheel scrolls the page.
const canvas = byId("body"), pen = canvas.getContext("2d"), MISSING = [217, 217, 217], HEIGHT = 400;
const START = {yaw: data.yaw, pitch: data.pitch, zoom: 1};
let view = {...START}, field = data.fields[0];
canvas.style.cssText = `display: block; width: 100%; height: ${HEIGHT}px; cursor: grab; touch-action: pan-y`;
const colour = (stops, share) => {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(at), stops.length - 2);
  return stops[i].map((low, k) => low + (at - i) * (stops[i + 1][k] - low));
};
const css = (rgb, light) => `rgb(${rgb.map((part) => Math.round(part * light)).join(" ")})`;
const turned = ([x, y, z]) => {
  const [c, s, d, t] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
  const forward = c * z - s * x;
  return [c * x + s * z, d * y - t * forward, t * y + d * forward];
};
const draw = () => {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth;
  [canvas.width, canvas.height] = [width * ratio, HEIGHT * ratio];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const size = 0.95 * Math.min(width, HEIGHT) * view.zoom, points = data.vertices.map(turned);
  const place = ([x, y]) => [width / 2 + x * size, HEIGHT / 2 - y * size];
  const share = (value) => (value - field.low) / (field.high - field.low || 1);
  const gaps = field.values.includes(null);
  const faces = data.faces.map((corners) => ({corners, depth: corners.reduce((sum, i) => sum + points[i][2], 0)}));
  faces.sort((one, other) => one.depth - other.depth);
  for (const {corners} of faces) {
    const [a, b, c] = corners.map((i) => points[i]);
    const [u, v] = [[0, 1, 2].map((k) => b[k] - a[k]), [0, 1, 2].map((k) => c[k] - a[k])];
    const normal = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    const light = 0.78 + (0.22 * Math.abs(normal[2])) / (Math.hypot(...normal) || 1);
    const value = corners.reduce((sum, i) => sum + field.values[i] / 3, 0);
    pen.fillStyle = pen.strokeStyle = css(gaps ? MISSING : colour(field.stops, share(value)), light);
    pen.beginPath();
    for (const one of [a, b, c]) pen.lineTo(...place(one));
    pen.closePath();
    pen.fill();
    pen.stroke();
  }
  if (gaps) dots(points, place, share);
};
// Where values are missing, the others are dots on the side that faces the reader.
const dots = (points, place, share) => {
  const normals = data.normals.map(turned);
  field.values.forEach((value, i) => {
    if (value === null || normals[i][2] < 0.1) return;
    pen.fillStyle = css(colour(field.stops, share(value)), 1);
    pen.beginPath();
    pen.arc(...place(points[i]), 2.2 * view.zoom, 0, 7);
    pen.fill();
  });
};
let asked = false;
const later = () => {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; draw(); });
};
const move = {
  ArrowLeft: () => { view.yaw -= 0.15; }, ArrowRight: () => { view.yaw += 0.15; },
  ArrowUp: () => { view.pitch -= 0.15; }, ArrowDown: () => { view.pitch += 0.15; },
  "+": () => { view.zoom = Math.min(view.zoom * 1.15, 4); }, "-": () => { view.zoom = Math.max(view.zoom / 1.15, 0.4); },
  Home: () => { view = {...START}; },
};
const go = (key) => {
  move[key]();
  canvas.dataset.view = `${view.yaw.toFixed(2)} ${view.pitch.toFixed(2)} ${view.zoom.toFixed(2)}`;
  later();
};
canvas.addEventListener("keydown", (event) => {
  if (!move[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  go(event.key);
});
document.querySelectorAll("[data-key]").forEach((one) => one.addEventListener("click", () => go(one.dataset.key)));
let held = null;
canvas.addEventListener("pointerdown", (event) => {
  held = [event.clientX, event.clientY];
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  if (!held) return;
  view.yaw += (event.clientX - held[0]) / 120;
  view.pitch += (event.clientY - held[1]) / 120;
  held = [event.clientX, event.clientY];
  canvas.dataset.view = `${view.yaw.toFixed(2)} ${view.pitch.toFixed(2)} ${view.zoom.toFixed(2)}`;
  later();
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
const choose = () => {
  field = data.fields[byId("signal").selectedIndex];
  canvas.setAttribute("aria-label", `${data.body}, ${field.title}. Arrow keys turn it, plus and minus zoom, Home resets.`);
  const stops = field.stops.map((rgb) => css(rgb, 1)), said = (value) => value.toPrecision(3);
  byId("bars").replaceChildren(bar({label: data.label, low: said(field.low), high: said(field.high), stops}));
  later();
};
data.fields.forEach((one) => byId("signal").append(made("option", {textContent: one.title})));
byId("signal").addEventListener("change", choose);
new ResizeObserver(later).observe(canvas);
choose();
