// Connects the parts: asks about the drawing and shows the answers.
import { Asker } from './asking.js';
import { Drawing } from './drawing.js';
import { listenToKeys } from './keys.js';
import { listenToPointer } from './pointing.js';
import { showAbout, showAnswer, showNothing, showProblem, speak } from './showing.js';

const byId = (id) => document.getElementById(id);

const setState = (state) => { document.body.dataset.state = state; };

const GONE = 'The program does not answer. If it has been stopped, start it again and open the address that it prints.';
const HINTS = {
  pointer: 'Draw with the mouse, a finger or the arrow keys.',
  up: 'The pen is up: arrow keys move it, Space puts it down.',
  down: 'The pen is down: arrow keys draw, Space lifts it.',
};

const setUp = (about) => {
  let shown = null, frame = 0;

  const show = (answer) => {
    shown = answer.blank ? null : answer;
    if (!shown) return showNothing();
    showAnswer(answer, about.classes);
    return speak(`${about.model} predicts ${byId('said').textContent}`);
  };

  const asker = new Asker({
    onAnswer: (answer, latest) => {
      showProblem('');
      show(answer);
      if (latest) setState(answer.blank ? 'blank' : 'answered');
    },
    onFailure: (error) => {
      showProblem(error instanceof TypeError ? GONE : error.message);
      setState('failed');
    },
  });

  const ask = () => {
    frame = 0;
    if (!drawing.blank) asker.ask(drawing.bytes());
  };

  // At most one question for each frame of the screen.
  const onChange = () => {
    if (drawing.blank) {
      asker.forget();
      show({ blank: true });
      setState('blank');
    } else {
      setState('asking');
      frame ||= requestAnimationFrame(ask);
    }
  };

  const drawing = new Drawing(byId('drawing'), about.side, onChange);
  const clear = () => { drawing.clear(); speak('Cleared'); };
  const undo = () => drawing.undo();
  const onPen = (down, byKeys) => {
    const text = down ? HINTS.down : byKeys ? HINTS.up : HINTS.pointer;
    if (byId('pen-state').textContent !== text) byId('pen-state').textContent = text;
  };

  listenToPointer(drawing);
  const keys = listenToKeys(drawing, { onPen, clear, undo });
  byId('clear').addEventListener('click', () => { keys.lift(); clear(); });
  byId('undo').addEventListener('click', () => { keys.lift(); undo(); });
  byId('width').addEventListener('input', (event) => { drawing.width = Number(event.target.value); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    drawing.paint();
    show(shown ?? { blank: true });
  });
  showAbout(about);
  showNothing();
  setState('blank');
};

fetch('about').then((response) => response.json()).then(setUp, () => showProblem(GONE));
