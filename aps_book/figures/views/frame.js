"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (name) => document.getElementById(name);
const made = (tag, properties = {}, ...children) => {
  const one = Object.assign(document.createElement(tag), properties);
  one.append(...children);
  return one;
};
// A colour bar: stops from low to high, with both ends in words.
const bar = ({label, low, high, stops}) => {
  const strip = made("i");
  strip.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
  return made("div", {className: "bar"}, `${label}: ${low}`, strip, high);
};
// The page around the frame gives it the height that it needs.
const tell = () => parent.postMessage({apsHeight: Math.ceil(document.querySelector("main").getBoundingClientRect().height) + 2}, "*");
new ResizeObserver(tell).observe(document.querySelector("main"));
