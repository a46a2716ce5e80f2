// How the search orders what it finds: chapters before glossary and settings, these before the back matter, the pages of the
// code last; among pages of one kind, those whose titles hold more of what was asked for. A name with an underscore or a dot
// finds the code first.
var Scorer = (() => {
  const words = (text) => splitQuery(text.toLowerCase()).map((word) => new Stemmer().stemWord(word));
  const below = [/^reference(?!s$)/, /^(references|cite|changelog)$/, /^(glossary|settings)$/, /^/]; // the last: chapters
  const kind = (page) => below.findIndex((names) => names.test(page));
  return {
    score: ([page, title, , described, score]) => {
      const query = new URLSearchParams(window.location.search).get("q") ?? "";
      const asked = words(query), held = new Set(words(title));
      const share = asked.filter((word) => held.has(word)).length / Math.max(asked.length, 1);
      const named = described !== null && /[._]/.test(query);
      return score + 100 * share + 1000 * (named ? below.length : kind(page));
    },
    // as Sphinx has them
    objNameMatch: 11,
    objPartialMatch: 6,
    objPrio: { 0: 15, 1: 5, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
  };
})();
