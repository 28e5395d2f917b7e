"use strict";
const by = document.getElementById("by"), order = document.getElementById("order");
const main = document.querySelector("main"), rows = document.querySelectorAll("tbody tr");
const cards = [...main.children].map(card => ({card, values: card.dataset.values.split(",")}));
function sort() {
  const column = Number(by.value), lower = by.selectedOptions[0].dataset.lower === "1";
  const sign = (lower ? 1 : -1) * (order.value === "best" ? 1 : -1);
  const key = c => c.values[column] === "" ? Infinity : sign * Number(c.values[column]);
  cards.sort((a, b) => { const x = key(a), y = key(b); return x < y ? -1 : x > y ? 1 : 0; });
  for (const c of cards) {
    c.card.querySelector("output").textContent =
      c.values[column] === "" ? "–" : Number(c.values[column]).toFixed(3);
  }
  main.replaceChildren(...cards.map(c => c.card));
  rows.forEach((row, i) => row.classList.toggle("chosen", i === column));
}
by.addEventListener("change", sort);
order.addEventListener("change", sort);
sort();
