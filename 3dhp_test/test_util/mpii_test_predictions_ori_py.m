function mpii_test_predictions_ori_py(aggregation_mode, prediction_folder, annotation_folder, output_folder, labels, sequences)
% Score predictions of the MPI-INF-3DHP test set: MPJPE, PCK and AUC, by sequence and by activity.
% One function file for GNU Octave and MATLAB. It has been run in Octave 7.3, not in MATLAB.
%
%   mpii_test_predictions_ori_py                                the mode of line 29, folders as published
%   mpii_test_predictions_ori_py('P_Agg')                       another mode
%   mpii_test_predictions_ori_py('P_Agg', 'predictions', 'annotations', 'output', 'annot3', {'TS5', 'TS6'})
%
% aggregation_mode    reads inference_data_<mode>.mat: P_Agg, J_Agg, P_Best, J_Best, J_Agg_fit
% prediction_folder   holds that file; default ../../checkpoint beside this file's folder, then the folders below it
%                     with the newest one
% annotation_folder   holds TS1/annot_data.mat ...; default the folder above this file's
% output_folder       receives the CSV files; default this file's folder
% labels              annot3 (default) or univ_annot3
% sequences           default all six
%
% Predictions are (3, 17, F, K) in mm, relative to the pelvis, for every frame of the video; K is the number of
% sampling steps. MPJPE is over 17 joints. PCK (error below 150 mm) and AUC (mean of the shares below 0:5:150 mm)
% are over 14 joints. Only valid frames count. For each step k it writes
% mpii_3dhp_evaluation_sequencewise_ori_<mode>_t<k>.csv and mpii_3dhp_evaluation_activitywise_ori_<mode>_t<k>.csv;
% with univ_annot3 the names say univ in place of ori.
% The published headline is the mean over the sequence rows: column 19 of lines 3-8 (MPJPE), column 10 of lines 10-15
% (PCK) and column 10 of lines 17-22 (AUC).
%
% It stops at an export that has not every frame, at a pelvis that is not zero, and at NaN on a valid frame.

% To score another mode without arguments, change the name in line 29.
if nargin < 1 || isempty(aggregation_mode)
    aggregation_mode = 'J_Agg';
end
here = fileparts(mfilename('fullpath'));
if nargin < 2 || isempty(prediction_folder)
    prediction_file = find_predictions(fullfile(here, '..', '..', 'checkpoint'), aggregation_mode);
else
    prediction_file = fullfile(prediction_folder, ['inference_data_' aggregation_mode '.mat']);
end
if nargin < 3 || isempty(annotation_folder)
    annotation_folder = fullfile(here, '..');
end
if nargin < 4 || isempty(output_folder)
    output_folder = here;
end
if nargin < 5 || isempty(labels)
    labels = 'annot3';
end
if nargin < 6 || isempty(sequences)
    sequences = {'TS1', 'TS2', 'TS3', 'TS4', 'TS5', 'TS6'};
end
if strcmp(labels, 'annot3')
    label_name = 'ori';
elseif strcmp(labels, 'univ_annot3')
    label_name = 'univ';
else
    error('labels is annot3 or univ_annot3, not %s', labels);
end

if exist(prediction_file, 'file') ~= 2
    error('%s: no such file', prediction_file);
end
fprintf('scoring %s\n', prediction_file);
predictions = load(prediction_file);
if ~isfield(predictions, sequences{1})
    error('%s: not in the predictions', sequences{1});
end
first = predictions.(sequences{1});
steps = size(first, 4);

% Per-joint errors of the valid frames: step k, sequence s -> 17 x n.
errors = cell(steps, numel(sequences));
activities = cell(1, numel(sequences));
row_names = cell(1, numel(sequences));
for s = 1:numel(sequences)
    name = sequences{s};
    row_names{s} = ['TestSeq' strrep(name, 'TS', '')];
    annotation = load(fullfile(annotation_folder, name, 'annot_data.mat'), ...
                      labels, 'valid_frame', 'activity_annotation');
    valid = double(annotation.valid_frame(:)) == 1;
    activity = double(annotation.activity_annotation(:));
    activities{s} = activity(valid);
    truth = reshape(double(annotation.(labels)), 3, 17, []);
    check_export(predictions, name, numel(valid), sum(valid), steps);
    poses = predictions.(name);
    truth = relative_to_pelvis(truth(:, :, valid));
    for k = 1:steps
        pose = reshape(poses(:, :, valid, k), 3, 17, []);
        check_values(pose, name);
        errors{k, s} = reshape(sqrt(sum((pose - truth) .^ 2, 1)), 17, []);
    end
end

activity_names = {'Standing/Walking', 'Exercising', 'Sitting', 'Reaching/Crouching', ...
                  'On The Floor', 'Sports', 'Miscellaneous', 'All'};
if exist(output_folder, 'dir') ~= 7
    mkdir(output_folder);
end
pooled_activity = cat(1, activities{:});
for k = 1:steps
    by_sequence = errors(k, :);
    pooled = cat(2, by_sequence{:});
    by_activity = cell(1, 8);
    for a = 1:7
        by_activity{a} = pooled(:, pooled_activity == a);
    end
    by_activity{8} = pooled;
    ending = sprintf('_%s_%s_t%d.csv', label_name, aggregation_mode, k);
    write_tables(fullfile(output_folder, ['mpii_3dhp_evaluation_sequencewise' ending]), 'seq', row_names, by_sequence);
    write_tables(fullfile(output_folder, ['mpii_3dhp_evaluation_activitywise' ending]), 'activity', ...
                 activity_names, by_activity);
end
fprintf('written: mpii_3dhp_evaluation_{sequencewise,activitywise}_%s_%s_t1 to t%d in %s\n', ...
        label_name, aggregation_mode, steps, output_folder);
end


function file = find_predictions(folder, mode)
% inference_data_<mode>.mat of a folder, else the newest of the folders below it.
name = ['inference_data_' mode '.mat'];
file = newest_file(folder, name, 8);
if isempty(file)
    error('%s: not in %s, nor in a folder below it; main_3dhp.py --evaluate writes it', name, folder);
end
end


function [file, date] = newest_file(folder, name, depth)
% The file of a folder, else the newest of that name in the folders below it, and its date; empty without one.
entries = dir(folder);
own = find(strcmp({entries.name}, name));
if ~isempty(own)
    file = fullfile(folder, name);
    date = entries(own(1)).datenum;
    return
end
file = '';
date = -Inf;
for i = 1:numel(entries)
    if entries(i).isdir && entries(i).name(1) ~= '.' && depth > 0
        [found, found_date] = newest_file(fullfile(folder, entries(i).name), name, depth - 1);
        if ~isempty(found) && found_date >= date
            file = found;
            date = found_date;
        end
    end
end
end


function check_export(predictions, name, frames, valid, steps)
% Refuse a sequence that is missing, or that does not hold one pose for every frame of the video.
if ~isfield(predictions, name)
    error('%s: not in the predictions', name);
end
poses = predictions.(name);
if size(poses, 1) ~= 3 || size(poses, 2) ~= 17
    error('%s: expected 3 x 17 x frames x steps', name);
end
found = size(poses, 3);
if found ~= frames
    if found == valid || (found == 1 && size(poses, 4) == valid)
        error('%s: holds the %d valid frames only, not the %d of the video', name, valid, frames);
    end
    error('%s: %d frames, the annotation has %d', name, found, frames);
end
if size(poses, 4) ~= steps
    error('%s: %d steps, the first sequence has %d', name, size(poses, 4), steps);
end
end


function check_values(pose, name)
% Refuse NaN on a valid frame and a pelvis that is not zero: the prediction is not centred again here.
if any(~isfinite(pose(:)))
    error('%s: NaN or infinite on a valid frame', name);
end
pelvis = pose(:, 15, :);
if any(abs(pelvis(:)) > 1e-3)
    error('%s: the pelvis is not zero; predictions must be relative to it', name);
end
end


function poses = relative_to_pelvis(poses)
poses = poses - repmat(poses(:, 15, :), [1 17 1]);
end


function row = mean_errors(e)
% MPJPE of each joint and the mean over the 17; NaN without frames.
joints = mean(e, 2);
row = [joints' mean(joints)];
end


function groups = joint_groups()
% Head, Neck, Shou, Elbow, Wrist, Hip, Knee, Ankle; the last is all 14 of them.
groups = {1, 2, [3 6], [4 7], [5 8], [9 12], [10 13], [11 14]};
groups{9} = [groups{:}];
end


function row = share_below(e, thresholds)
% Percent of the errors strictly below the thresholds, for each group; NaN without frames.
groups = joint_groups();
row = zeros(1, 9);
for g = 1:9
    part = e(groups{g}, :);
    passed = 0;
    for t = thresholds
        passed = passed + sum(part(:) < t);
    end
    row(g) = 100 * passed / (numel(part) * numel(thresholds));
end
end


function write_tables(file_name, prefix, row_names, e)
% Three tables below each other, 19 columns, empty cells at the end.
joints = {'head_top', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_shoulder', 'left_elbow', ...
          'left_wrist', 'right_hip', 'right_knee', 'right_ankle', 'left_hip', 'left_knee', 'left_ankle', ...
          'pelvis', 'spine', 'head', 'Average'};
groups = {'Head', 'Neck', 'Shou', 'Elbow', 'Wrist', 'Hip', 'Knee', 'Ankle', 'Total'};
fid = fopen(file_name, 'w');
if fid < 0
    error('%s: cannot be written', file_name);
end
header = cell(1, 18);
for i = 2:19
    header{i - 1} = sprintf('%s_table%d', prefix, i);
end
write_line(fid, [prefix '_table1'], header);
write_line(fid, '', joints);
for r = 1:numel(row_names)
    write_line(fid, row_names{r}, numbers(mean_errors(e{r})));
end
write_line(fid, 'PCK', groups);
for r = 1:numel(row_names)
    write_line(fid, row_names{r}, numbers(share_below(e{r}, 150)));
end
write_line(fid, 'AUC', groups);
for r = 1:numel(row_names)
    write_line(fid, row_names{r}, numbers(share_below(e{r}, 0:5:150)));
end
fclose(fid);
end


function cells = numbers(row)
cells = cell(1, numel(row));
for i = 1:numel(row)
    cells{i} = sprintf('%.15g', row(i));
end
end


function write_line(fid, label, cells)
fprintf(fid, '%s', label);
for i = 1:18
    if i <= numel(cells)
        fprintf(fid, ',%s', cells{i});
    else
        fprintf(fid, ',');
    end
end
fprintf(fid, '\n');
end
