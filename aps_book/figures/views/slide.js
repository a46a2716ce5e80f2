// Sliders that choose among pictures drawn before; each picture says on which of them it depends.
const chosen = data.sliders.map((one) => one.start);
const style = document.createElement("style");
style.textContent = `
  .sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(${data.cell}px, 45%), 1fr)); gap: 0.5rem; }
  .sheet img { width: 100%; display: block; image-rendering: pixelated; ${data.round ? "border-radius: 50%;" : ""} }
  .controls label > span { min-width: 8.5rem; } input[type=range] { width: 11rem; }
  #bars { display: flex; flex-wrap: wrap; gap: 0.2rem 1.5rem; margin-top: 0.6rem; }`;
document.head.append(style);
const filled = (text) => text.replace(/\{(\d)\}/g, (_, i) => data.sliders[i].values[chosen[i]]);
const shown = data.pictures.map((one) => {
  const image = made("img"), caption = made("figcaption");
  byId("sheet").append(made("figure", {}, image, caption));
  return () => {
    const at = one.by.reduce((sum, i) => sum * data.sliders[i].values.length + chosen[i], 0);
    image.src = one.images[at];
    caption.textContent = filled(one.title);
    image.alt = filled(one.alt);
  };
});
const draw = () => shown.forEach((one) => one());
data.sliders.forEach((one, i) => {
  const said = made("span"), name = `slider-${i}`;
  const range = made("input", {type: "range", id: name, min: 0, max: one.values.length - 1, step: 1, value: one.start});
  const update = () => {
    chosen[i] = Number(range.value);
    said.textContent = `${one.label}: ${one.values[chosen[i]]}`;
    range.setAttribute("aria-valuetext", one.values[chosen[i]]);
    draw();
  };
  range.addEventListener("input", update);
  byId("controls").append(made("label", {htmlFor: name}, said, range));
  update();
});
data.bars.forEach((one) => byId("bars").append(bar(one)));
