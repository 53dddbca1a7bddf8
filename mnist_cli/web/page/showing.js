// Shows an answer on the page.
import { paintGrey, paintMosaic, paintNothing, paintSigned, unpack } from './pictures.js';

const byId = (id) => document.getElementById(id);
const SEEN = 28;

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

export const showAbout = ({ model, checkpoint, members, classes }) => {
  const voting = members > 1 ? `, ${members} networks that vote; saliency and activations are the first one's` : '';
  byId('network').textContent = `${model}${voting} · ${checkpoint}`;
  byId('bars').tBodies[0].replaceChildren(...classes.map((name) => element('tr', {},
    element('th', { scope: 'row', textContent: name }),
    element('td', { className: 'track' }, element('span')),
    element('td', { textContent: '' }))));
};

const showBars = (probabilities, best) => [...byId('bars').rows].forEach((row, i) => {
  row.classList.toggle('best', i === best);
  row.querySelector('span').style.width = `${100 * (probabilities?.[i] ?? 0)}%`;
  row.lastChild.textContent = probabilities ? percent(probabilities[i]) : '';
});

const showPicture = (id, caption, label, paint) => {
  paint(byId(id));
  byId(id).setAttribute('aria-label', label);
  if (caption) byId(`${id}-caption`).textContent = caption;
};

const showSaliency = (saliency, ink, classes) => {
  if (!saliency) {
    for (const id of ['gradient', 'difference']) showPicture(id, 'no saliency', 'No saliency', paintNothing);
    return;
  }
  const [said, rival] = [classes[saliency.predicted], classes[saliency.rival]];
  for (const [id, caption] of [['gradient', `saliency of ${said}`], ['difference', `of ${said} against ${rival}`]]) {
    const values = unpack(saliency[id].values, Int8Array);
    showPicture(id, caption, caption, (canvas) => paintSigned(canvas, values, ink, SEEN));
  }
};

const layerCaption = ({ name, operations, count, width, height, largest }) =>
  `${name}: ${operations.join(', ')} · ${height * width > 1 ? `${count} maps of ${height}×${width}` : `${count} units`} · maximum ${largest.toPrecision(3)}`;

const showLayers = (layers) => {
  const figures = byId('layers');
  while (figures.children.length < layers.length) {
    const canvas = element('canvas');
    canvas.setAttribute('role', 'img');
    figures.append(element('figure', {}, canvas, element('figcaption')));
  }
  layers.forEach((layer, i) => {
    const [canvas, caption] = figures.children[i].children;
    paintMosaic(canvas, unpack(layer.values, Int8Array), layer);
    caption.textContent = layerCaption(layer);
    canvas.setAttribute('aria-label', caption.textContent);
  });
};

export const showAnswer = (answer, classes) => {
  const { probabilities } = answer;
  const best = probabilities.indexOf(Math.max(...probabilities));
  const form = unpack(answer.form, Uint8Array);
  byId('said').textContent = `${classes[best]} · ${percent(probabilities[best])}`;
  byId('said').className = '';
  showBars(probabilities, best);
  showPicture('form', '', 'The network\'s input', (canvas) => paintGrey(canvas, form, SEEN));
  showSaliency(answer.saliency, unpack(answer.ink, Uint8Array), classes);
  showLayers(answer.layers);
};

export const showNothing = () => {
  byId('said').textContent = 'Nothing drawn yet';
  byId('said').className = 'quiet';
  showBars(null, -1);
  ['form', 'gradient', 'difference'].forEach((id) => paintNothing(byId(id)));
  byId('gradient-caption').textContent = 'saliency';
  byId('difference-caption').textContent = 'saliency of the difference';
  byId('layers').replaceChildren();
};

let speaking = 0;

// For screen readers: only after a pause, not at each point of a stroke.
export const speak = (text) => {
  clearTimeout(speaking);
  speaking = setTimeout(() => { byId('spoken').textContent = text; }, 700);
};

export const showProblem = (text) => {
  byId('problem').hidden = !text;
  byId('problem').textContent = text;
};
